-- name: find_week(factory_id, week, language)$
-- The report that there is already: its id.
SELECT report_id FROM weekly_reports WHERE factory_id = :factory_id AND week = :week AND language = :language;

-- name: insert_week(report_id, factory_id, week, language)!
-- A report that waits for a worker, again when it was made before.
INSERT INTO weekly_reports (report_id, factory_id, week, language) VALUES (:report_id, :factory_id, :week, :language)
ON CONFLICT (factory_id, week, language) DO UPDATE SET state = 'WAITING';

-- name: insert_missing_weeks(week, language, most)
-- Reports of the week for factories that have none; ids that follow from the clock of the database.
INSERT INTO weekly_reports (report_id, factory_id, week, language)
SELECT uuidv7(), factory_id, :week, :language FROM factory.exported_factories factory
WHERE created_at < :week::date + 7
  AND NOT EXISTS (
    SELECT FROM weekly_reports report
    WHERE report.factory_id = factory.factory_id AND report.week = :week AND report.language = :language)
ORDER BY factory_id LIMIT :most
ON CONFLICT (factory_id, week, language) DO NOTHING
RETURNING report_id;

-- name: select_week(report_id, factory_id)^
-- One report, of this factory when one is named.
SELECT report_id, factory_id, week, language, state, pdf_file, xlsx_file, created_at, finished_at FROM weekly_reports
WHERE report_id = :report_id AND (:factory_id::uuid IS NULL OR factory_id = :factory_id);

-- name: select_weeks(before, factory_id, page_size)
-- A page, newest first, by the primary key.
SELECT report_id, factory_id, week, language, state, pdf_file, xlsx_file, created_at, finished_at FROM weekly_reports
WHERE report_id < :before AND (:factory_id::uuid IS NULL OR factory_id = :factory_id)
ORDER BY report_id DESC LIMIT :page_size;

-- name: lock_week(report_id)^
-- The files that it has so far, which the new ones take the place of.
SELECT pdf_file, xlsx_file FROM weekly_reports WHERE report_id = :report_id FOR UPDATE;

-- name: finish_week(report_id, pdf_file, xlsx_file, now)!
-- Both files at once.
UPDATE weekly_reports SET state = 'DONE', pdf_file = :pdf_file, xlsx_file = :xlsx_file, finished_at = :now
WHERE report_id = :report_id;

-- name: fail_week(report_id, now)!
-- It could not be made; files from before stay.
UPDATE weekly_reports SET state = 'FAILED', finished_at = :now WHERE report_id = :report_id AND state = 'WAITING';

-- name: read_factory_name(factory_id)$
-- What a factory is called.
SELECT name FROM factory.exported_factories WHERE factory_id = :factory_id;

-- name: read_week_batches(factory_id, since, until, most)
-- Batches of a week, the largest first.
SELECT name, state, issued_count, created_at FROM factory.exported_batches
WHERE factory_id = :factory_id AND created_at >= :since AND created_at < :until
ORDER BY issued_count DESC, created_at LIMIT :most;

-- name: count_week_batches(factory_id, since, until)^
-- All of them.
SELECT count(*) AS batches, coalesce(sum(issued_count), 0)::bigint AS products FROM factory.exported_batches
WHERE factory_id = :factory_id AND created_at >= :since AND created_at < :until;

-- name: read_week_anomalies(factory_id, first, last, most)
-- The scans of a week that raised most suspicion, out of the index that has the suspicious ones alone.
SELECT scan.at, scan.product_id, scan.verdict, scan.risk, scan.leading_factor, scan.country
FROM (
  SELECT product_id, event_id FROM scan.scan_records
  WHERE factory_id = :factory_id AND event_id >= :first AND event_id < :last AND (verdict > 1 OR risk >= 20)
  ORDER BY risk DESC NULLS LAST, event_id LIMIT :most
) AS worst
JOIN scan.exported_scans scan USING (product_id, event_id)
ORDER BY scan.risk DESC NULLS LAST, event_id;

-- name: read_week_reports(factory_id, first, last)
-- What people reported of its products in a week, by kind.
SELECT report.kind, count(*) AS reports
FROM scan.exported_reports report
JOIN factory.product_owners owner ON owner.product_id = report.product_id
WHERE owner.factory_id = :factory_id AND report.report_id >= :first AND report.report_id < :last
GROUP BY report.kind ORDER BY reports DESC, kind;
