-- name: turn_salts()
-- Today's salt and yesterday's; whoever comes first on a day makes the one and destroys what is older.
SELECT salt FROM turn_report_salts() AS salt;

-- name: forget_requests(most)$
-- Runs as the owner: this role removes nothing by itself.
SELECT forget_requests(:most);

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

-- name: list_cases(before, state, product_id, count)
-- Newest first, by the primary key; only the first report of a case carries a state.
SELECT report_id AS case_id, reported_at, state, kind, text, product_id, code, country_code, note, changed_at,
  (SELECT count(*) FROM fraud_reports further WHERE further.case_id = opened.report_id) AS reports
FROM fraud_reports opened
WHERE opened.state IS NOT NULL
  AND (:before::uuid IS NULL OR report_id < :before::uuid)
  AND (:state::text IS NULL OR state = :state::text)
  AND (:product_id::uuid IS NULL OR product_id = :product_id::uuid)
ORDER BY report_id DESC LIMIT :count;

-- name: one_case(case_id)^
-- A case by the id of its first report.
SELECT report_id AS case_id, reported_at, state, kind, text, product_id, code, country_code, note, changed_at,
  (SELECT count(*) FROM fraud_reports further WHERE further.case_id = opened.report_id) AS reports
FROM fraud_reports opened WHERE report_id = :case_id AND state IS NOT NULL;

-- name: set_case_state(state, note, case_id, expected)$
-- The state from before, for the audit; none when it was not the expected one.
UPDATE fraud_reports SET state = :state, note = :note, changed_at = now()
WHERE report_id = :case_id AND (:expected::text IS NULL OR state = :expected)
RETURNING old.state;

-- name: report_tallies(product_ids)
-- What the risk of a product's scans is to know: neighbourhoods in cases that nobody decided, and cases confirmed. Of a
-- product that was cleared, the cases that were opened or decided since.
SELECT opened.product_id,
  count(DISTINCT report.caller) FILTER (WHERE opened.state IN ('OPEN', 'INVESTIGATING')) AS open,
  count(DISTINCT opened.case_id) FILTER (WHERE opened.state = 'CONFIRMED') AS confirmed
FROM fraud_reports opened JOIN fraud_reports report ON report.case_id = opened.report_id
WHERE opened.state IS NOT NULL AND opened.product_id = ANY(:product_ids::uuid[])
  AND NOT EXISTS (
    SELECT FROM rulings
    WHERE subject = 'product/' || opened.product_id AND kind = 'CLEAR' AND NOT lifts AND ended_by IS NULL
      AND ruled_at >= greatest(opened.reported_at, opened.changed_at))
GROUP BY opened.product_id;

-- name: reported_products(after, count)
-- Every product that was ever reported, page by page.
SELECT DISTINCT product_id FROM fraud_reports WHERE product_id > :after ORDER BY product_id LIMIT :count;
