-- name: lock_factory(factory_id)$
-- Endpoints of one factory are registered one at a time, so that counting them means something.
SELECT true FROM factories WHERE factory_id = :factory_id FOR NO KEY UPDATE;

-- name: count_endpoints(factory_id)$
-- Those that are not disabled.
SELECT count(*) FROM webhook_endpoints WHERE factory_id = :factory_id AND disabled_at IS NULL;

-- name: insert_endpoint(factory_id, endpoint_id, url, event_types)^
-- Its secret follows from its id.
INSERT INTO webhook_endpoints (factory_id, endpoint_id, url, event_types)
VALUES (:factory_id, :endpoint_id, :url, :event_types)
RETURNING *;

-- name: select_endpoint(factory_id, endpoint_id)^
-- Another factory's endpoint is as unknown as none.
SELECT * FROM webhook_endpoints WHERE factory_id = :factory_id AND endpoint_id = :endpoint_id;

-- name: select_endpoints(factory_id, before, page_size)
-- Newest first, as ids are UUIDv7; the keyset is the last id of the page before.
SELECT * FROM webhook_endpoints
WHERE factory_id = :factory_id AND (:before::uuid IS NULL OR endpoint_id < :before::uuid)
ORDER BY endpoint_id DESC
LIMIT :page_size;

-- name: rotate_endpoint(factory_id, endpoint_id, retired_at)^
-- The version before goes on signing until a day after `retired_at`; three such are kept.
UPDATE webhook_endpoints
SET version = version + 1,
    retired = trim_array(ARRAY[:retired_at::timestamptz] || retired, greatest(cardinality(retired) - 2, 0))
WHERE factory_id = :factory_id AND endpoint_id = :endpoint_id
RETURNING *;

-- name: disable_endpoint(factory_id, endpoint_id, disable_reason)^
-- No row when it is disabled already: the first reason stays.
UPDATE webhook_endpoints SET disabled_at = now(), disable_reason = :disable_reason
WHERE factory_id = :factory_id AND endpoint_id = :endpoint_id AND disabled_at IS NULL
RETURNING *;

-- name: select_listening(factory_ids)
-- Which of these factories are to be told anything: most have no endpoint, and then nothing is written.
SELECT DISTINCT factory_id FROM webhook_endpoints WHERE factory_id = ANY(:factory_ids::uuid[]) AND disabled_at IS NULL;

-- name: insert_events(factory_ids, event_ids, types, bodies)
-- Each event that an endpoint chose, and a delivery to each such endpoint.
WITH wanted AS (
  SELECT event.factory_id, event.event_id, event.type, event.body, endpoint.endpoint_id
  FROM unnest(:factory_ids::uuid[], :event_ids::uuid[], :types::text[], :bodies::bytea[])
    AS event (factory_id, event_id, type, body)
  JOIN webhook_endpoints endpoint ON endpoint.factory_id = event.factory_id AND endpoint.disabled_at IS NULL
    AND (endpoint.event_types = '{}' OR event.type = ANY(endpoint.event_types))
), kept AS (
  INSERT INTO webhook_events (factory_id, event_id, type, body)
  SELECT DISTINCT factory_id, event_id, type, body FROM wanted
)
INSERT INTO webhook_deliveries (factory_id, delivery_id, endpoint_id, event_id)
SELECT factory_id, uuidv7(), endpoint_id, event_id FROM wanted
RETURNING factory_id, delivery_id, round;

-- name: insert_event_for(factory_id, event_id, type, body, delivery_id, endpoint_id)!
-- An event for one endpoint alone, whatever it chose.
WITH kept AS (
  INSERT INTO webhook_events (factory_id, event_id, type, body) VALUES (:factory_id, :event_id, :type, :body)
)
INSERT INTO webhook_deliveries (factory_id, delivery_id, endpoint_id, event_id)
VALUES (:factory_id, :delivery_id, :endpoint_id, :event_id);

-- name: select_deliveries(factory_id, endpoint_id, delivery_id, before, state, page_size, attempts)
-- One delivery or an endpoint's, newest first, each with its latest attempts in one column.
SELECT delivery.delivery_id, delivery.endpoint_id, delivery.event_id, event.type, delivery.state,
       delivery.next_attempt_at, uuid_extract_timestamp(delivery.event_id) AS created_at,
       ARRAY(
         SELECT ROW(attempt.attempted_at, attempt.status, attempt.error, attempt.duration_ms, attempt.answer)
         FROM webhook_attempts attempt
         WHERE attempt.factory_id = delivery.factory_id AND attempt.delivery_id = delivery.delivery_id
         ORDER BY attempt.attempt_id DESC
         LIMIT :attempts
       ) AS attempts
FROM webhook_deliveries delivery
JOIN webhook_events event ON event.factory_id = delivery.factory_id AND event.event_id = delivery.event_id
WHERE delivery.factory_id = :factory_id
  AND (:endpoint_id::uuid IS NULL OR delivery.endpoint_id = :endpoint_id::uuid)
  AND (:delivery_id::uuid IS NULL OR delivery.delivery_id = :delivery_id::uuid)
  AND (:before::uuid IS NULL OR delivery.delivery_id < :before::uuid)
  AND (:state::text IS NULL OR delivery.state = :state::text)
ORDER BY delivery.delivery_id DESC
LIMIT :page_size;

-- name: replay_delivery(factory_id, delivery_id)$
-- The next round; what waits of the one before will find itself overtaken.
UPDATE webhook_deliveries SET round = round + 1, state = 'PENDING', attempts = 0, next_attempt_at = NULL
WHERE factory_id = :factory_id AND delivery_id = :delivery_id
RETURNING round;

-- name: select_task(factory_id, delivery_id, round)^
-- What an attempt needs; no row when this round is over. It locks nothing, for an attempt takes seconds.
SELECT delivery.endpoint_id, delivery.event_id, delivery.attempts, delivery.next_attempt_at,
       event.body, endpoint.url, endpoint.version, endpoint.retired, endpoint.disabled_at IS NOT NULL AS disabled
FROM webhook_deliveries delivery
JOIN webhook_events event ON event.factory_id = delivery.factory_id AND event.event_id = delivery.event_id
JOIN webhook_endpoints endpoint
  ON endpoint.factory_id = delivery.factory_id AND endpoint.endpoint_id = delivery.endpoint_id
WHERE delivery.factory_id = :factory_id AND delivery.delivery_id = :delivery_id AND delivery.round = :round
  AND delivery.state = 'PENDING';

-- name: settle_delivery(state, counted, next_attempt_at, factory_id, delivery_id, round)!
-- Nothing when another worker or a replay was faster.
UPDATE webhook_deliveries
SET state = :state, attempts = attempts + :counted, next_attempt_at = :next_attempt_at
WHERE factory_id = :factory_id AND delivery_id = :delivery_id AND round = :round AND state = 'PENDING';

-- name: insert_attempt(factory_id, delivery_id, attempt_id, attempted_at, status, error, duration_ms, answer)!
-- Every attempt, those that were overtaken too.
INSERT INTO webhook_attempts
  (factory_id, delivery_id, attempt_id, attempted_at, status, error, duration_ms, answer)
VALUES (:factory_id, :delivery_id, :attempt_id, :attempted_at, :status, :error, :duration_ms, :answer);

-- name: select_owner(product_id)^
-- The factory that a product belongs to; for services, which may name any product.
SELECT factory_id, batch_id FROM owner_of(:product_id);

-- name: forget_events(before, page_size)$
-- The oldest events from before then that wait for no attempt, with their deliveries and attempts: how many events.
WITH old AS (
  SELECT event.factory_id, event.event_id
  FROM webhook_events event
  WHERE event.event_id < first_id_of(:before::timestamptz AT TIME ZONE 'UTC')
    AND NOT EXISTS (
      SELECT FROM webhook_deliveries delivery
      WHERE delivery.factory_id = event.factory_id AND delivery.event_id = event.event_id
        AND delivery.state = 'PENDING')
  ORDER BY event.event_id
  LIMIT :page_size
), delivered AS (
  DELETE FROM webhook_deliveries delivery USING old
  WHERE delivery.factory_id = old.factory_id AND delivery.event_id = old.event_id
  RETURNING delivery.factory_id, delivery.delivery_id
), attempted AS (
  DELETE FROM webhook_attempts attempt USING delivered
  WHERE attempt.factory_id = delivered.factory_id AND attempt.delivery_id = delivered.delivery_id
), told AS (
  DELETE FROM webhook_events event USING old
  WHERE event.factory_id = old.factory_id AND event.event_id = old.event_id
  RETURNING event.event_id
)
SELECT count(*)::integer FROM told;
