-- name: read_as_of()
-- How fresh each source is.
SELECT source, as_of FROM rollups;

-- name: read_scans(grain, factory_id, since, until)
-- Hours or days of a factory or of everybody, those with scans; by primary key.
SELECT since, scans, genuine, suspicious, likely_copy, blocked, unknown, risk_0, risk_10, risk_20, risk_30, risk_40,
  risk_50, risk_60, risk_70, risk_80, risk_90, risk_total, first_scans, products
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

-- name: read_countries(grain, factory_id, since, until)
-- Countries of a period, most scans first; by primary key.
SELECT country, sum(scans)::bigint AS scans FROM country_rollups
WHERE grain = :grain AND factory_id = :factory_id AND since >= :since AND since < :until
GROUP BY country ORDER BY scans DESC, country;

-- name: read_products(factory_id, since, until, most)
-- The products scanned most, out of those kept of each day. Of a day that has more products than are kept, no other one
-- has more scans than the least of them. Behind the list comes one more row: how many scans a product that is not in it
-- may have.
WITH kept AS (
  SELECT day, product_id, scans FROM product_rollups
  WHERE factory_id = :factory_id AND day >= :since AND day < :until
), days AS (
  SELECT kept.day, CASE WHEN count(*) < whole.products THEN min(kept.scans) ELSE 0 END AS least
  FROM kept JOIN scan_rollups whole
    ON whole.grain = 'day' AND whole.factory_id = :factory_id AND whole.since = kept.day::timestamp AT TIME ZONE 'UTC'
  GROUP BY kept.day, whole.products
), bounds AS (
  SELECT coalesce(sum(least), 0)::bigint AS least FROM days
), totals AS (
  SELECT product_id, sum(scans)::bigint AS scans, (sum(scans) + bounds.least - sum(days.least))::bigint AS at_most,
    row_number() OVER (ORDER BY sum(scans) DESC, product_id) AS place
  FROM kept JOIN days USING (day) CROSS JOIN bounds
  GROUP BY product_id, bounds.least
)
SELECT product_id, scans, at_most FROM (
  SELECT place, product_id, scans, at_most FROM totals WHERE place <= :most::integer
  UNION ALL
  SELECT :most::integer + 1, NULL, NULL,
    greatest((SELECT max(at_most) FROM totals WHERE place > :most::integer), (SELECT least FROM bounds))
) AS list
ORDER BY place;

-- name: read_factories(grain, since, until, everybody, most)
-- The factories whose products were scanned most; by the index on time.
SELECT factory_id, coalesce(name, '') AS name, scans, suspected FROM (
  SELECT factory_id, sum(scans)::bigint AS scans, sum(suspicious + likely_copy)::bigint AS suspected FROM scan_rollups
  WHERE grain = :grain AND since >= :since AND since < :until AND factory_id <> :everybody
  GROUP BY factory_id ORDER BY scans DESC, factory_id LIMIT :most::integer
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
