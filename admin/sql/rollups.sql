-- name: take_rollup_lead()$
-- One process counts at a time; held until the transaction ends, however it ends.
SELECT pg_try_advisory_xact_lock(hashtext('voketag admin rollups'));

-- name: bound_rollup(seconds)$
-- A process that hangs loses its transaction, and with it the lead.
SELECT set_config('idle_in_transaction_session_timeout', :seconds, true);

-- name: hold_rollup(source)^
-- How far a source is counted, held until the transaction ends.
SELECT position, counted_since, as_of FROM rollups WHERE source = :source FOR UPDATE;

-- name: move_rollup(source, position, counted_since, as_of)!
-- In the transaction of the increments: both happen or neither.
UPDATE rollups SET position = :position, counted_since = :counted_since, as_of = :as_of WHERE source = :source;

-- name: ledger_end()^
-- Where the ledger ends, and a time before which nothing was committed that this does not see.
SELECT coalesce((SELECT size FROM scan.ledger_end), 0) AS size, statement_timestamp() AS as_of;

-- name: events_to_count(first, past)
-- A stretch of the ledger. Places whose month was dropped are empty.
SELECT event_id, product_id, factory_id, at, verdict, risk, country FROM scan.counted_events
WHERE ledger_index >= :first AND ledger_index < :past ORDER BY ledger_index;

-- name: enter_scanned(product_ids)
-- Those of these products that no event was counted of before.
INSERT INTO scanned_products SELECT DISTINCT unnest(:product_ids::uuid[]) ON CONFLICT DO NOTHING RETURNING product_id;

-- name: countries_of(grains, factory_ids, since)
-- Of hours and days that are to be added to.
SELECT grain, factory_id, since, countries::text FROM scan_rollups
WHERE (grain, factory_id, since) IN (SELECT * FROM unnest(:grains::text[], :factory_ids::uuid[], :since::timestamptz[]));

-- name: add_scans(grains, factory_ids, since, scans, genuine, suspicious, likely_copy, blocked, unknown, risk_0, risk_10, risk_20, risk_30, risk_40, risk_50, risk_60, risk_70, risk_80, risk_90, risk_total, first_scans, products, countries)!
-- Adds to hours and days; `countries` are those of all their scans, since whoever counts does so alone.
INSERT INTO scan_rollups AS had (
  grain, factory_id, since, scans, genuine, suspicious, likely_copy, blocked, unknown, risk_0, risk_10, risk_20, risk_30,
  risk_40, risk_50, risk_60, risk_70, risk_80, risk_90, risk_total, first_scans, products, countries)
SELECT * FROM unnest(
  :grains::text[], :factory_ids::uuid[], :since::timestamptz[], :scans::bigint[], :genuine::bigint[],
  :suspicious::bigint[], :likely_copy::bigint[], :blocked::bigint[], :unknown::bigint[], :risk_0::bigint[],
  :risk_10::bigint[], :risk_20::bigint[], :risk_30::bigint[], :risk_40::bigint[], :risk_50::bigint[],
  :risk_60::bigint[], :risk_70::bigint[], :risk_80::bigint[], :risk_90::bigint[], :risk_total::bigint[],
  :first_scans::bigint[], :products::bigint[], :countries::jsonb[])
ON CONFLICT (grain, factory_id, since) DO UPDATE SET
  scans = had.scans + excluded.scans, genuine = had.genuine + excluded.genuine,
  suspicious = had.suspicious + excluded.suspicious, likely_copy = had.likely_copy + excluded.likely_copy,
  blocked = had.blocked + excluded.blocked, unknown = had.unknown + excluded.unknown,
  risk_0 = had.risk_0 + excluded.risk_0, risk_10 = had.risk_10 + excluded.risk_10,
  risk_20 = had.risk_20 + excluded.risk_20, risk_30 = had.risk_30 + excluded.risk_30,
  risk_40 = had.risk_40 + excluded.risk_40, risk_50 = had.risk_50 + excluded.risk_50,
  risk_60 = had.risk_60 + excluded.risk_60, risk_70 = had.risk_70 + excluded.risk_70,
  risk_80 = had.risk_80 + excluded.risk_80, risk_90 = had.risk_90 + excluded.risk_90,
  risk_total = had.risk_total + excluded.risk_total, first_scans = had.first_scans + excluded.first_scans,
  products = had.products + excluded.products, countries = excluded.countries;

-- name: add_factories(days, factory_ids, scans, suspected)!
-- Adds to the days of factories.
INSERT INTO factory_rollups AS had (day, factory_id, scans, suspected)
SELECT * FROM unnest(:days::date[], :factory_ids::uuid[], :scans::bigint[], :suspected::bigint[])
ON CONFLICT (day, factory_id) DO UPDATE SET
  scans = had.scans + excluded.scans, suspected = had.suspected + excluded.suspected;

-- name: recall_products(days, product_ids, first_ids, past_ids, position)!
-- What was counted before of products of days that are remembered no more: late events need it. By primary key, in the
-- month of the day.
INSERT INTO product_counts (day, product_id, scans, known)
SELECT asked.day, asked.product_id, past.scans, past.known
FROM unnest(:days::date[], :product_ids::uuid[], :first_ids::uuid[], :past_ids::uuid[])
  AS asked (day, product_id, first_id, past_id)
CROSS JOIN LATERAL (
  SELECT count(*) AS scans, count(event.factory_id) AS known FROM scan.counted_events event
  WHERE event.product_id = asked.product_id AND event.event_id >= asked.first_id AND event.event_id < asked.past_id
    AND event.ledger_index < :position
) AS past
WHERE past.scans > 0
ON CONFLICT DO NOTHING;

-- name: count_products(days, product_ids, scans, known)
-- Adds to the products of a day; what there was and is.
INSERT INTO product_counts AS had (day, product_id, scans, known)
SELECT * FROM unnest(:days::date[], :product_ids::uuid[], :scans::bigint[], :known::bigint[])
ON CONFLICT (day, product_id) DO UPDATE SET scans = had.scans + excluded.scans, known = had.known + excluded.known
RETURNING day, product_id, new.scans, new.known,
  coalesce(old.scans, 0) AS scans_before, coalesce(old.known, 0) AS known_before;

-- name: lists_of(factory_ids, days)
-- The lists that products may come onto.
SELECT factory_id, day, listed, complete FROM product_lists
WHERE (factory_id, day) IN (SELECT * FROM unnest(:factory_ids::uuid[], :days::date[]));

-- name: put_lists(factory_ids, days, listed, complete)!
-- Lists as they are now.
INSERT INTO product_lists (factory_id, day, listed, complete)
SELECT * FROM unnest(:factory_ids::uuid[], :days::date[], :listed::bytea[], :complete::boolean[])
ON CONFLICT (factory_id, day) DO UPDATE SET listed = excluded.listed, complete = excluded.complete;

-- name: forget_product_counts(before, limit)!
-- Removes products of days that nothing is expected of any more.
DELETE FROM product_counts WHERE ctid = ANY(ARRAY(SELECT ctid FROM product_counts WHERE day < :before LIMIT :limit));

-- name: forget_hours(before)!
-- Removes hours that are shown no more; their days stay.
DELETE FROM scan_rollups WHERE grain = 'hour' AND since < :before;

-- name: look_again(source)^
-- What was there at the last look, and what is there now. A snapshot that is ahead is of a server that was since restored
-- from a dump: everything is looked at again.
SELECT CASE WHEN pg_snapshot_xmax(snapshot) <= pg_snapshot_xmax(pg_current_snapshot()) THEN snapshot::text END AS before,
  pg_current_snapshot()::text AS now, statement_timestamp() AS as_of
FROM rollups WHERE source = :source FOR UPDATE;

-- name: looked(source, snapshot, as_of)!
-- In the transaction of what was found.
UPDATE rollups SET snapshot = :snapshot::text::pg_snapshot, as_of = :as_of WHERE source = :source;

-- name: count_batches(before, everybody)!
-- Batches that changed since a look, all for NULL. One that is looked at twice makes no difference the second time. The
-- number of the transaction is what factory has an index of.
WITH changed AS (
  INSERT INTO batch_copies AS had (batch_id, factory_id, day, state, products)
  SELECT batch_id, factory_id, (created_at AT TIME ZONE 'UTC')::date, state, issued_count FROM factory.counted_batches
  WHERE :before::text IS NULL OR (
    changed_in::text::bigint >= pg_snapshot_xmin(:before::text::pg_snapshot)::text::bigint
    AND changed_in < pg_snapshot_xmax(pg_current_snapshot())
    AND NOT pg_visible_in_snapshot(changed_in, :before::text::pg_snapshot))
  ON CONFLICT (batch_id) DO UPDATE SET state = excluded.state, products = excluded.products
    WHERE (had.state, had.products) IS DISTINCT FROM (excluded.state, excluded.products)
  RETURNING new.factory_id, new.day, old.state AS old_state, old.products AS old_products,
    new.state AS new_state, new.products AS new_products
), steps AS (
  SELECT factory_id, day, new_state AS state, 1 AS batches, new_products AS products FROM changed
  UNION ALL
  SELECT factory_id, day, old_state, -1, -old_products FROM changed WHERE old_state IS NOT NULL
)
INSERT INTO batch_rollups AS had
SELECT who.factory_id, day, state, sum(batches)::bigint, sum(products)::bigint
FROM steps CROSS JOIN LATERAL (VALUES (steps.factory_id), (:everybody::uuid)) AS who (factory_id)
GROUP BY who.factory_id, day, state
ON CONFLICT (factory_id, day, state) DO UPDATE
SET batches = had.batches + excluded.batches, products = had.products + excluded.products;

-- name: changed_windows(before)
-- Windows that changed since a look, all for NULL.
SELECT tree_id, (final_at AT TIME ZONE 'UTC')::date AS day, size AS roots, gas_used,
  gas_used::numeric * gas_price AS fee_wei, total_ms, most_ms
FROM anchor.counted_windows
WHERE :before::text IS NULL OR (
  changed_in >= pg_snapshot_xmin(:before::text::pg_snapshot)
  AND changed_in < pg_snapshot_xmax(pg_current_snapshot())
  AND NOT pg_visible_in_snapshot(changed_in, :before::text::pg_snapshot));

-- name: drop_windows(tree_ids)
-- Windows are counted anew as they are now, or not at all when they are final no more; the days that they were on.
DELETE FROM window_copies WHERE tree_id = ANY(:tree_ids::bigint[]) RETURNING day;

-- name: copy_windows(tree_ids, days, roots, gas_used, fee_wei, total_ms, most_ms)!
-- Final windows.
INSERT INTO window_copies
SELECT * FROM unnest(
  :tree_ids::bigint[], :days::date[], :roots::bigint[], :gas_used::bigint[], :fee_wei::numeric[], :total_ms::bigint[],
  :most_ms::bigint[]);

-- name: add_up_windows(days)!
-- Days with a change, from their windows, of which there are at most some thousand.
INSERT INTO window_rollups
SELECT changed.day, count(tree_id), coalesce(sum(roots), 0)::bigint, coalesce(sum(gas_used), 0)::bigint,
  coalesce(sum(fee_wei), 0), coalesce(sum(total_ms), 0)::bigint, coalesce(max(most_ms), 0)
FROM (SELECT DISTINCT unnest(:days::date[]) AS day) AS changed LEFT JOIN window_copies USING (day)
GROUP BY changed.day
ON CONFLICT (day) DO UPDATE SET windows = excluded.windows, roots = excluded.roots, gas_used = excluded.gas_used,
  fee_wei = excluded.fee_wei, total_ms = excluded.total_ms, most_ms = excluded.most_ms;

-- name: copy_root_backlog()!
-- What is not final yet.
INSERT INTO root_backlog (roots, oldest_at) SELECT roots, oldest_at FROM anchor.waiting_roots
ON CONFLICT (one) DO UPDATE SET roots = excluded.roots, oldest_at = excluded.oldest_at;

-- name: copy_factories()!
-- Names that are new or others than before; factories are never removed.
INSERT INTO factory_copies AS had SELECT factory_id, name FROM factory.factory_names
ON CONFLICT (factory_id) DO UPDATE SET name = excluded.name WHERE had.name <> excluded.name;

-- name: forget_jobs()!
-- Kinds of jobs that there are none of have no row.
DELETE FROM job_health;

-- name: copy_jobs()!
-- What the queues have to do now.
INSERT INTO job_health
SELECT 'factory', job, waiting, running, held, oldest_at FROM factory.queue_health()
UNION ALL
SELECT 'admin', entrypoint, count(*) FILTER (WHERE status = 'queued' AND execute_after <= now()),
  count(*) FILTER (WHERE status = 'picked'), count(*) FILTER (WHERE status = 'failed'),
  min(execute_after) FILTER (WHERE status = 'queued' AND execute_after <= now())
FROM pgqueuer GROUP BY entrypoint;
