-- name: suspicious_scans(before, since, looked, risk_min, risk_max, factor, verdict, page_size)
-- A page, newest first. So many are looked at and no more, by the index that holds suspicious scans alone; what fits is
-- read whole by the primary key.
SELECT record.event_id, record.product_id, record.batch_id, record.factory_id, record.at, record.country, record.verdict,
  record.risk, record.leading_factor, record.factors, record.scan_count
FROM (
  SELECT event_id, product_id FROM (
    SELECT event_id, product_id, verdict, risk, leading_factor FROM scan.scan_records
    WHERE (verdict > 1 OR risk >= 20) AND event_id < :before AND event_id >= :since
    ORDER BY event_id DESC LIMIT :looked
  ) looked_at
  WHERE (:risk_min::int IS NULL OR risk >= :risk_min) AND (:risk_max::int IS NULL OR risk <= :risk_max)
    AND (:factor::int IS NULL OR leading_factor = :factor) AND (:verdict::int IS NULL OR verdict = :verdict)
  ORDER BY event_id DESC LIMIT :page_size
) found
JOIN scan.scan_records record ON record.product_id = found.product_id AND record.event_id = found.event_id
ORDER BY record.event_id DESC;

-- name: suspicious_scans_of_factory(factory_id, before, since, looked, risk_min, risk_max, factor, verdict, page_size)
-- The same of a factory's products, by an index of its own.
SELECT record.event_id, record.product_id, record.batch_id, record.factory_id, record.at, record.country, record.verdict,
  record.risk, record.leading_factor, record.factors, record.scan_count
FROM (
  SELECT event_id, product_id FROM (
    SELECT event_id, product_id, verdict, risk, leading_factor FROM scan.scan_records
    WHERE (verdict > 1 OR risk >= 20) AND factory_id = :factory_id AND event_id < :before AND event_id >= :since
    ORDER BY event_id DESC LIMIT :looked
  ) looked_at
  WHERE (:risk_min::int IS NULL OR risk >= :risk_min) AND (:risk_max::int IS NULL OR risk <= :risk_max)
    AND (:factor::int IS NULL OR leading_factor = :factor) AND (:verdict::int IS NULL OR verdict = :verdict)
  ORDER BY event_id DESC LIMIT :page_size
) found
JOIN scan.scan_records record ON record.product_id = found.product_id AND record.event_id = found.event_id
ORDER BY record.event_id DESC;

-- name: suspicious_scans_of_product(product_id, factory_id, before, since, looked, risk_min, risk_max, factor, verdict, page_size)
-- The same of one product, by an index of its own; of a factory's alone when one is given.
SELECT record.event_id, record.product_id, record.batch_id, record.factory_id, record.at, record.country, record.verdict,
  record.risk, record.leading_factor, record.factors, record.scan_count
FROM (
  SELECT event_id, product_id FROM (
    SELECT event_id, product_id, factory_id, verdict, risk, leading_factor FROM scan.scan_records
    WHERE (verdict > 1 OR risk >= 20) AND product_id = :product_id AND event_id < :before AND event_id >= :since
    ORDER BY event_id DESC LIMIT :looked
  ) looked_at
  WHERE (:risk_min::int IS NULL OR risk >= :risk_min) AND (:risk_max::int IS NULL OR risk <= :risk_max)
    AND (:factor::int IS NULL OR leading_factor = :factor) AND (:verdict::int IS NULL OR verdict = :verdict)
    AND (:factory_id::uuid IS NULL OR factory_id = :factory_id)
  ORDER BY event_id DESC LIMIT :page_size
) found
JOIN scan.scan_records record ON record.product_id = found.product_id AND record.event_id = found.event_id
ORDER BY record.event_id DESC;

-- name: looked_until(before, since, looked)$
-- The last of those that `suspicious_scans` looked at; none when it came to the end.
SELECT event_id FROM scan.scan_records
WHERE (verdict > 1 OR risk >= 20) AND event_id < :before AND event_id >= :since
ORDER BY event_id DESC OFFSET :looked LIMIT 1;

-- name: looked_until_of_factory(factory_id, before, since, looked)$
-- The same of a factory.
SELECT event_id FROM scan.scan_records
WHERE (verdict > 1 OR risk >= 20) AND factory_id = :factory_id AND event_id < :before AND event_id >= :since
ORDER BY event_id DESC OFFSET :looked LIMIT 1;

-- name: looked_until_of_product(product_id, before, since, looked)$
-- The same of a product.
SELECT event_id FROM scan.scan_records
WHERE (verdict > 1 OR risk >= 20) AND product_id = :product_id AND event_id < :before AND event_id >= :since
ORDER BY event_id DESC OFFSET :looked LIMIT 1;

-- name: product_owner(product_id)^
-- Whose a product is, its batch and its key.
SELECT batch_id, factory_id, kid FROM factory.product_owners WHERE product_id = :product_id;

-- name: product_timeline(product_id, subjects, before, page_size)
-- A page of everything, newest first: as many of each kind as the page may hold, each by an index, and of those the newest.
-- All ids are UUIDv7, so one order holds for all.
SELECT entry_id, kind, at, detail FROM (
  (SELECT event_id AS entry_id, 'scan' AS kind, at, jsonb_build_object('product_id', product_id, 'batch_id', batch_id,
      'factory_id', factory_id, 'country', country, 'verdict', verdict, 'risk', risk, 'leading_factor', leading_factor,
      'factors', convert_from(factors, 'UTF8')::jsonb, 'scan_count', scan_count) AS detail
   FROM scan.scan_records WHERE product_id = :product_id AND event_id < :before ORDER BY event_id DESC LIMIT :page_size)
  UNION ALL
  (SELECT event_id, 'step', uuid_extract_timestamp(event_id), jsonb_build_object('from_state', from_state,
      'to_state', to_state, 'actor', actor, 'note', note)
   FROM factory.product_steps WHERE product_id = :product_id AND event_id < :before ORDER BY event_id DESC LIMIT :page_size)
  UNION ALL
  (SELECT case_id, 'report', reported_at, jsonb_build_object('state', state, 'kind', kind, 'country', country_code)
   FROM scan.fraud_cases WHERE product_id = :product_id AND case_id < :before ORDER BY case_id DESC LIMIT :page_size)
  UNION ALL
  (SELECT ruling_id, 'ruling', ruled_at, jsonb_build_object('kind', kind, 'subject', subject, 'lifts', lifts, 'note', note,
      'ruled_by', ruled_by)
   FROM scan.ruling_history WHERE subject = ANY(:subjects::text[]) AND ruling_id < :before
   ORDER BY ruling_id DESC LIMIT :page_size)
) entries ORDER BY entry_id DESC LIMIT :page_size;

-- name: fraud_cases(before, state, product_id, assignee_id, unassigned, page_size)
-- A page, newest first, with whoever works on each.
SELECT opened.case_id, opened.reported_at, opened.state, opened.kind, opened.text, opened.product_id, opened.code,
  opened.country_code, opened.reports, opened.changed_at, opened.photo_sha256, given.assignee_id
FROM scan.fraud_cases opened LEFT JOIN case_assignees given ON given.case_id = opened.case_id
WHERE opened.case_id < :before
  AND (:state::text IS NULL OR opened.state = :state)
  AND (:product_id::uuid IS NULL OR opened.product_id = :product_id)
  AND (:assignee_id::uuid IS NULL OR given.assignee_id = :assignee_id)
  AND (NOT :unassigned OR given.assignee_id IS NULL)
ORDER BY opened.case_id DESC LIMIT :page_size;

-- name: fraud_case(case_id)^
-- One case.
SELECT opened.case_id, opened.reported_at, opened.state, opened.kind, opened.text, opened.product_id, opened.code,
  opened.country_code, opened.reports, opened.changed_at, opened.photo_sha256, given.assignee_id
FROM scan.fraud_cases opened LEFT JOIN case_assignees given ON given.case_id = opened.case_id
WHERE opened.case_id = :case_id;

-- name: hold_case(case_id)!
-- Desks change a case one after the other; held until the transaction ends.
SELECT pg_advisory_xact_lock(hashtextextended('admin.case/' || :case_id, 0));

-- name: assign_case(case_id, assignee_id)!
-- One person at a time, or nobody.
INSERT INTO case_assignees (case_id, assignee_id) VALUES (:case_id, :assignee_id)
ON CONFLICT (case_id) DO UPDATE SET assignee_id = excluded.assignee_id;

-- name: insert_note(note_id, case_id, author_id, text)!
-- Notes are added and never changed: the role may not.
INSERT INTO case_notes (note_id, case_id, author_id, text) VALUES (:note_id, :case_id, :author_id, :text);

-- name: case_notes(case_id)
-- All of a case, oldest first.
SELECT note_id, author_id, text, noted_at FROM case_notes WHERE case_id = :case_id ORDER BY note_id;
