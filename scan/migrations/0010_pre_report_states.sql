-- Cases are decided by staff; what they decide reaches the risk of the product's scans.
ALTER TABLE fraud_reports DROP CONSTRAINT fraud_reports_state_check;
ALTER TABLE fraud_reports
  ADD CONSTRAINT fraud_reports_state_check CHECK (state IN ('OPEN', 'INVESTIGATING', 'CONFIRMED', 'DISMISSED')),
  ADD COLUMN note text NOT NULL DEFAULT '' CHECK (char_length(note) <= 2000),
  ADD COLUMN changed_at timestamptz;
COMMENT ON COLUMN fraud_reports.note IS 'What staff say of the case, last; the audit has what they said before.';
COMMENT ON COLUMN fraud_reports.changed_at IS 'When staff last gave it a state; NULL before.';
CREATE INDEX ON fraud_reports (product_id) WHERE product_id IS NOT NULL;

GRANT UPDATE (state, note, changed_at) ON fraud_reports TO voketag_scan;
