-- name: insert_api_key(key_id, factory_id, prefix, secret_hash)^
-- The hash alone is kept: whoever reads this table cannot call.
INSERT INTO api_keys (key_id, factory_id, prefix, secret_hash) VALUES (:key_id, :factory_id, :prefix, :secret_hash)
RETURNING key_id, factory_id, prefix, created_at, revoked_at, expires_at, successor_id;

-- name: lock_api_key(key_id)^
-- One key, without its hash; of two who end it at once the second sees what the first did.
SELECT key_id, factory_id, prefix, created_at, revoked_at, expires_at, successor_id FROM api_keys
WHERE key_id = :key_id FOR UPDATE;

-- name: select_api_keys(factory_id, before, ended, page_size)
-- A page, newest first, by the index on the factory.
SELECT key_id, factory_id, prefix, created_at, revoked_at, expires_at, successor_id FROM api_keys
WHERE factory_id = :factory_id AND key_id < :before
  AND (:ended::boolean OR key_counts(revoked_at, expires_at, 'active'))
ORDER BY key_id DESC LIMIT :page_size;

-- name: revoke_api_key(key_id)^
-- Keeps the first time of revocation; no row when there was nothing left to revoke.
UPDATE api_keys SET revoked_at = now() WHERE key_id = :key_id AND revoked_at IS NULL
RETURNING key_id, factory_id, prefix, created_at, revoked_at, expires_at, successor_id;

-- name: replace_api_key(key_id, successor_id, overlap)^
-- It goes on for the overlap; no row when it had ended or was replaced before.
UPDATE api_keys SET successor_id = :successor_id, expires_at = now() + :overlap
WHERE key_id = :key_id AND successor_id IS NULL AND key_counts(revoked_at, expires_at, 'active')
RETURNING key_id, factory_id, prefix, created_at, revoked_at, expires_at, successor_id;

-- name: select_credentials(prefix)^
-- What a presented key is held against; keys that ended and keys of suspended factories are as unknown as the rest.
SELECT key.key_id, key.factory_id, key.secret_hash FROM api_keys key JOIN factories factory USING (factory_id)
WHERE key.prefix = :prefix AND key_counts(key.revoked_at, key.expires_at, factory.state);
