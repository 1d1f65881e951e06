-- Scans a day, factory and verdict, added up in the transaction that writes them.
CREATE TABLE day_totals (
  day date NOT NULL,
  factory_id uuid NOT NULL,
  verdict smallint NOT NULL,
  scans bigint NOT NULL CHECK (scans > 0),
  PRIMARY KEY (day, factory_id, verdict)
) WITH (fillfactor = 20);  -- changed with every group of scans: the versions stay in one page
COMMENT ON COLUMN day_totals.day IS 'Of the time in the event''s id (UTC).';
COMMENT ON COLUMN day_totals.factory_id IS 'All zeros for scans whose card could not be read.';

GRANT SELECT, INSERT, UPDATE (scans) ON day_totals TO voketag_scan;
