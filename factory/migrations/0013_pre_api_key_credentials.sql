-- What scan holds a presented API key against: factories watch their scans there. A hash of 256 random bits tells nobody
-- the key, so whoever reads this cannot call.
CREATE VIEW api_key_credentials AS
SELECT prefix, key_id, factory_id, secret_hash FROM api_keys WHERE revoked_at IS NULL;
COMMENT ON VIEW api_key_credentials IS 'Keys that count, by prefix.';
GRANT SELECT ON api_key_credentials TO voketag_scan;
