-- name: insert_factory(factory_id, name)^
-- The account; its name is what consumers see.
INSERT INTO factories (factory_id, name) VALUES (:factory_id, :name) RETURNING factory_id, name, created_at;

-- name: select_factory(factory_id)^
-- One account.
SELECT factory_id, name, created_at FROM factories WHERE factory_id = :factory_id;

-- name: insert_api_key(key_id, factory_id, prefix, secret_hash)^
-- The hash alone is kept: whoever reads this table cannot call.
INSERT INTO api_keys (key_id, factory_id, prefix, secret_hash) VALUES (:key_id, :factory_id, :prefix, :secret_hash)
RETURNING key_id, factory_id, prefix, created_at, revoked_at;

-- name: select_api_key(key_id)^
-- One key, without its hash.
SELECT key_id, factory_id, prefix, created_at, revoked_at FROM api_keys WHERE key_id = :key_id;

-- name: revoke_api_key(key_id)^
-- Keeps the first time of revocation; no row when there was nothing left to revoke.
UPDATE api_keys SET revoked_at = now() WHERE key_id = :key_id AND revoked_at IS NULL
RETURNING key_id, factory_id, prefix, created_at, revoked_at;

-- name: select_credentials(prefix)^
-- What a presented key is held against; revoked keys are as unknown as the rest.
SELECT key_id, factory_id, secret_hash FROM api_keys WHERE prefix = :prefix AND revoked_at IS NULL;

-- name: set_risk_weights(weights, factory_id)!
-- NULL is what everybody has; scan reads it through product_cards, and is told by a trigger.
UPDATE factories SET risk_weights = :weights::jsonb WHERE factory_id = :factory_id;
