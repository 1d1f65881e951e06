-- name: turn_salts()
-- Today's salt and yesterday's; whoever comes first on a day makes the one and destroys what is older.
SELECT salt FROM turn_report_salts() AS salt;

-- name: lock_subject(subject)!
-- Two reports at once on the same subject must not open two cases; held until the end of the transaction.
SELECT pg_advisory_xact_lock(hashtextextended(:subject, 0));

-- name: open_case(callers, product_id, code)$
-- The case that one of these pseudonyms opened on the subject within the last day.
SELECT case_id FROM fraud_reports
WHERE caller = ANY(:callers::bytea[]) AND reported_at > now() - interval '24 hours' AND state IS NOT NULL
  AND (product_id = :product_id OR (product_id IS NULL AND code = :code))
ORDER BY reported_at DESC LIMIT 1;

-- name: case_of(report_id)$
-- The case of a report that was made before.
SELECT case_id FROM fraud_reports WHERE report_id = :report_id;

-- name: insert_report(report_id, case_id, kind, text, product_id, code, caller, photo_sha256, photo_media_type, country_code)!
-- The first report of a case carries its state, a note on one has none.
INSERT INTO fraud_reports (report_id, case_id, state, kind, text, product_id, code, caller, photo_sha256,
  photo_media_type, country_code)
VALUES (:report_id, :case_id, CASE WHEN :report_id::uuid = :case_id::uuid THEN 'OPEN' END, :kind, :text, :product_id, :code,
  :caller, :photo_sha256, :photo_media_type, :country_code);

-- name: insert_contact(report_id, contact)!
-- Apart from the report, so that it can be erased without touching that.
INSERT INTO report_contacts (report_id, contact) VALUES (:report_id, :contact);
