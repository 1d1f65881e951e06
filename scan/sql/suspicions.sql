-- name: insert_suspicions(product_ids, verdicts, days, event_ids, risks)!
-- In the transaction of the events: both are there or neither. The day's first scan has said it for the others.
INSERT INTO suspicions (product_id, verdict, day, event_id, risk)
SELECT * FROM unnest(:product_ids::uuid[], :verdicts::smallint[], :days::date[], :event_ids::uuid[], :risks::smallint[])
ON CONFLICT DO NOTHING;

-- name: claim_suspicions(seconds, count)
-- Those that are due, taken until later: whoever dies with them leaves them to be sent again, under the same id. With what
-- the scan was judged by, which outlives nobody's personal data.
WITH due AS (
  SELECT product_id, verdict, day FROM suspicions WHERE settled_at IS NULL AND next_at <= now()
  ORDER BY next_at LIMIT :count FOR UPDATE SKIP LOCKED
), taken AS (
  UPDATE suspicions SET tries = tries + 1,
    next_at = now() + least(300, :seconds::float8 * 2 ^ least(tries, 20)) * interval '1 second'
  FROM due WHERE (suspicions.product_id, suspicions.verdict, suspicions.day) = (due.product_id, due.verdict, due.day)
  RETURNING suspicions.product_id, suspicions.verdict, suspicions.day, suspicions.event_id, suspicions.risk
)
SELECT taken.*, events.factors, events.facts FROM taken LEFT JOIN events USING (product_id, event_id);

-- name: settle_suspicion(refusal, product_id, verdict, day)!
-- The factory service has it, or never will.
UPDATE suspicions SET settled_at = now(), refusal = :refusal
WHERE product_id = :product_id AND verdict = :verdict AND day = :day;

-- name: forget_suspicions(days)!
-- Old ones; after a day a row keeps nothing from being said again.
DELETE FROM suspicions WHERE settled_at < now() - :days * interval '1 day';
