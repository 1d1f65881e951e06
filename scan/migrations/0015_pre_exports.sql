-- What exports read: scans without what is personal in them, and reports of fraud.

CREATE VIEW exported_scans AS
SELECT
  event_id,
  at,
  product_id,
  batch_id,
  factory_id,
  (ARRAY['GENUINE_CODE', 'SUSPICIOUS', 'LIKELY_COPY', 'BLOCKED', 'UNKNOWN_CODE'])[verdict] AS verdict,
  risk,
  (ARRAY['COPIES', 'DEVICES', 'TRAVEL', 'MARKET', 'VELOCITY', 'LIFECYCLE', 'REPORTS'])[leading_factor] AS leading_factor,
  country,
  (ARRAY['CALL', 'STREAM'])[source] AS source
FROM events;
COMMENT ON VIEW exported_scans IS
  'One row a scan, with the contract''s names; without device, address and what the risk was worked out from.';

CREATE VIEW exported_reports AS
SELECT
  report.report_id,
  report.case_id,
  report.reported_at,
  first.state,
  report.kind,
  report.product_id,
  report.code,
  report.country_code,
  report.text,
  first.note,
  contact.contact
FROM fraud_reports report
JOIN fraud_reports first ON first.report_id = report.case_id
LEFT JOIN report_contacts contact ON contact.report_id = report.report_id;
COMMENT ON VIEW exported_reports IS 'One row a report, with state and note of its case. contact is for admins alone.';

GRANT SELECT ON exported_scans, exported_reports TO voketag_admin;
