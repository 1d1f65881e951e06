-- What the fraud desk of admin looks at: scans, the suspicious ones by indexes of their own, and cases of reports. And how
-- often each product was scanned, of those that are scanned most.

ALTER TABLE events ADD COLUMN scan_count bigint;
COMMENT ON COLUMN events.scan_count IS
  'Scans of the product so far, as its caller was told; NULL when it was not counted, and for older rows.';

-- A scan is suspicious when its verdict is not GENUINE_CODE or its risk is 20 or more: some in a hundred. These indexes hold
-- those alone, with all that a desk filters by, so that looking through them reads no rows.
CREATE INDEX events_suspicious ON events (event_id)
  INCLUDE (product_id, factory_id, verdict, risk, leading_factor) WHERE verdict > 1 OR risk >= 20;
CREATE INDEX events_suspicious_by_factory ON events (factory_id, event_id)
  INCLUDE (product_id, verdict, risk, leading_factor) WHERE verdict > 1 OR risk >= 20;
CREATE INDEX events_suspicious_by_product ON events (product_id, event_id)
  INCLUDE (factory_id, verdict, risk, leading_factor) WHERE verdict > 1 OR risk >= 20;

CREATE VIEW scan_records AS
  SELECT event_id, product_id, batch_id, factory_id, at, verdict, risk, leading_factor, factors, country, source, scan_count,
    risk_version, weights_version
  FROM events;
COMMENT ON VIEW scan_records IS 'Scans without what is personal, by product_id and event_id (UUIDv7).';

CREATE VIEW fraud_cases AS
  SELECT report_id AS case_id, reported_at, state, kind, text, product_id, code, country_code, note, changed_at,
    photo_sha256, photo_media_type,
    (SELECT count(*) FROM fraud_reports further WHERE further.case_id = opened.report_id) AS reports
  FROM fraud_reports opened WHERE state IS NOT NULL;
COMMENT ON VIEW fraud_cases IS 'Cases of reports by their first one (UUIDv7); nothing of who reported.';
CREATE INDEX fraud_cases_by_state ON fraud_reports (state, report_id) WHERE state IS NOT NULL;

GRANT SELECT ON scan_records, fraud_cases TO voketag_admin;

CREATE TABLE top_products (
  factory_id uuid NOT NULL,
  product_id uuid NOT NULL,
  owner_id uuid NOT NULL,
  scans bigint NOT NULL CHECK (scans > 0),
  scanned_at timestamptz NOT NULL,
  PRIMARY KEY (factory_id, product_id)
) WITH (fillfactor = 50);  -- its counts change with every group of scans: the versions stay in one page
COMMENT ON TABLE top_products IS 'The products that were scanned most, some 100 to 200 a factory.';
COMMENT ON COLUMN top_products.factory_id IS 'Whose list it is; all zeros for that of all factories.';
COMMENT ON COLUMN top_products.owner_id IS 'The factory of the product.';

CREATE TABLE top_floors (
  factory_id uuid PRIMARY KEY,
  scans bigint NOT NULL
) WITH (fillfactor = 50);
COMMENT ON TABLE top_floors IS 'What a product must have been scanned more often than to come onto a list that is full.';

GRANT SELECT, INSERT, UPDATE (scans, scanned_at), DELETE ON top_products TO voketag_scan;
GRANT SELECT, INSERT, UPDATE (scans) ON top_floors TO voketag_scan;
