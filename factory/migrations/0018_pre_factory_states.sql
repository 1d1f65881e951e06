-- What operators set for a factory beside quota and weights, and keys that another takes the place of.

ALTER TABLE factories
  ADD COLUMN state text NOT NULL DEFAULT 'active' CHECK (state IN ('active', 'suspended')),
  ADD COLUMN priority smallint NOT NULL DEFAULT 0 CHECK (priority BETWEEN -10 AND 10),
  ADD COLUMN markets text[] NOT NULL DEFAULT '{}',
  ADD COLUMN updated_at timestamptz NOT NULL DEFAULT now();
COMMENT ON COLUMN factories.markets IS 'What the attribute market of its products may be; empty is anything.';

ALTER TABLE api_keys ADD COLUMN expires_at timestamptz, ADD COLUMN successor_id uuid;
COMMENT ON COLUMN api_keys.expires_at IS 'When it ends by itself, since its successor is in use by then.';
CREATE INDEX api_keys_factory ON api_keys (factory_id, key_id DESC);

CREATE FUNCTION key_counts(revoked_at timestamptz, expires_at timestamptz, state text) RETURNS boolean
LANGUAGE sql STABLE PARALLEL SAFE
RETURN revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now()) AND state = 'active';
COMMENT ON FUNCTION key_counts IS 'Whether a key of a factory in this state is accepted.';

CREATE OR REPLACE VIEW api_key_credentials AS
SELECT key.prefix, key.key_id, key.factory_id, key.secret_hash
FROM api_keys key JOIN factories factory USING (factory_id)
WHERE key_counts(key.revoked_at, key.expires_at, factory.state);

-- A new name is shown as soon as new weights count: by the same channel, which forgets all cards of a factory.
DROP TRIGGER weights_change ON factories;
CREATE TRIGGER card_change AFTER UPDATE OF risk_weights, name ON factories
  FOR EACH ROW WHEN (NEW.risk_weights IS DISTINCT FROM OLD.risk_weights OR NEW.name <> OLD.name)
  EXECUTE FUNCTION tell_weights_change();
