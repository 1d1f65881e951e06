-- name: add_totals(days, factory_ids, verdicts, counts)!
-- In the transaction of the events, while the ledger is held: nobody else adds, and nothing is added twice.
INSERT INTO day_totals (day, factory_id, verdict, scans)
SELECT * FROM unnest(:days::date[], :factory_ids::uuid[], :verdicts::smallint[], :counts::bigint[])
ON CONFLICT (day, factory_id, verdict) DO UPDATE SET scans = day_totals.scans + excluded.scans;

-- name: totals_of(day, factory_id)
-- Of one factory, or of all when that is NULL.
SELECT verdict, sum(scans)::bigint AS scans FROM day_totals
WHERE day = :day AND (factory_id = :factory_id::uuid OR :factory_id::uuid IS NULL)
GROUP BY verdict ORDER BY verdict;
