-- name: read_as_of()
-- How fresh each source is.
SELECT source, as_of FROM rollups;

-- name: read_scans(grain, factory_id, since, until)
-- Hours or days of a factory or of everybody, those with scans; by primary key.
SELECT since, scans, genuine, suspicious, likely_copy, blocked, unknown, risk_0, risk_10, risk_20, risk_30, risk_40,
  risk_50, risk_60, risk_70, risk_80, risk_90, risk_total, first_scans, products, countries::text
FROM scan_rollups WHERE grain = :grain AND factory_id = :factory_id AND since >= :since AND since < :until
ORDER BY since;

-- name: read_all_scans(factory_id)^
-- Everything there ever was: a row a day.
SELECT sum(scans)::bigint AS scans, sum(genuine)::bigint AS genuine, sum(suspicious)::bigint AS suspicious,
  sum(likely_copy)::bigint AS likely_copy, sum(blocked)::bigint AS blocked, sum(unknown)::bigint AS unknown,
  sum(risk_0)::bigint AS risk_0, sum(risk_10)::bigint AS risk_10, sum(risk_20)::bigint AS risk_20,
  sum(risk_30)::bigint AS risk_30, sum(risk_40)::bigint AS risk_40, sum(risk_50)::bigint AS risk_50,
  sum(risk_60)::bigint AS risk_60, sum(risk_70)::bigint AS risk_70, sum(risk_80)::bigint AS risk_80,
  sum(risk_90)::bigint AS risk_90, sum(risk_total)::bigint AS risk_total, sum(first_scans)::bigint AS first_scans,
  sum(products)::bigint AS products
FROM scan_rollups WHERE grain = 'day' AND factory_id = :factory_id;

-- name: read_products(factory_id, since, until)
-- The products scanned most of each day; by primary key.
SELECT listed, complete FROM product_lists WHERE factory_id = :factory_id AND day >= :since AND day < :until;

-- name: read_factories(since, until, most)
-- The factories whose products were scanned most; by primary key.
SELECT factory_id, coalesce(name, '') AS name, scans, suspected FROM (
  SELECT factory_id, sum(scans)::bigint AS scans, sum(suspected)::bigint AS suspected FROM factory_rollups
  WHERE day >= :since AND day < :until GROUP BY factory_id ORDER BY scans DESC, factory_id LIMIT :most::integer
) AS list LEFT JOIN factory_copies USING (factory_id)
ORDER BY scans DESC, factory_id;

-- name: read_batches(factory_id, since, until)
-- Batches by the day they were made on and the state they are in.
SELECT day, state, batches, products FROM batch_rollups
WHERE factory_id = :factory_id AND day >= :since AND day < :until AND batches > 0;

-- name: read_all_batches(factory_id)
-- Batches ever, by state.
SELECT state, sum(batches)::bigint AS batches, sum(products)::bigint AS products FROM batch_rollups
WHERE factory_id = :factory_id GROUP BY state HAVING sum(batches) > 0;

-- name: read_windows(since, until)
-- Windows by the day that they became final on.
SELECT day, windows, roots, gas_used, fee_wei, total_ms, most_ms FROM window_rollups
WHERE day >= :since AND day < :until ORDER BY day;

-- name: read_root_backlog()^
-- What is not final yet; no row before the first look.
SELECT roots, oldest_at FROM root_backlog;

-- name: read_jobs()
-- What the queues have to do.
SELECT queue, job, waiting, running, held, oldest_at FROM job_health ORDER BY queue, job;

-- name: read_accounts()^
-- People who may log in, who are few, and factories.
SELECT (SELECT count(*) FROM users WHERE state = 'active') AS users, (SELECT count(*) FROM factory_copies) AS factories;

-- name: knows_factory(factory_id)$
-- Whether there is such a factory.
SELECT EXISTS (SELECT FROM factory_copies WHERE factory_id = :factory_id);
