-- name: insert_factory(factory_id, name)^
-- The account; its name is what consumers see.
INSERT INTO factories (factory_id, name) VALUES (:factory_id, :name)
RETURNING factory_id, name, state, priority, markets, created_at, updated_at;

-- name: select_factory(factory_id)^
-- One account.
SELECT factory_id, name, state, priority, markets, created_at, updated_at FROM factories
WHERE factory_id = :factory_id;

-- name: lock_factory(factory_id)^
-- One account, whose changes wait for each other, so that the audit has each as it was before.
SELECT factory_id, name, state, priority, markets, created_at, updated_at FROM factories
WHERE factory_id = :factory_id FOR UPDATE;

-- name: select_factories(before, state, name, page_size)
-- A page, newest first, by the primary key.
SELECT factory_id, name, state, priority, markets, created_at, updated_at FROM factories
WHERE factory_id < :before
  AND (:state::text IS NULL OR state = :state)
  AND position(lower(:name) IN lower(name)) > 0
ORDER BY factory_id DESC LIMIT :page_size;

-- name: update_factory(factory_id, name, state, priority, markets)^
-- Everything that operators change but quota and weights, at once.
UPDATE factories SET name = :name, state = :state, priority = :priority, markets = :markets, updated_at = now()
WHERE factory_id = :factory_id
RETURNING factory_id, name, state, priority, markets, created_at, updated_at;

-- name: select_markets(factory_id)$
-- What the attribute market of its products may be; empty is anything.
SELECT markets FROM factories WHERE factory_id = :factory_id;

-- name: set_risk_weights(weights, factory_id)!
-- NULL is what everybody has; scan reads it through product_cards, and is told by a trigger.
UPDATE factories SET risk_weights = :weights::jsonb WHERE factory_id = :factory_id;

-- name: lock_risk_weights(factory_id)^
-- As they are, for the audit to say what they were.
SELECT risk_weights FROM factories WHERE factory_id = :factory_id FOR UPDATE;

-- name: select_risk_weights(factory_id)$
-- NULL is what everybody has.
SELECT risk_weights FROM factories WHERE factory_id = :factory_id;
