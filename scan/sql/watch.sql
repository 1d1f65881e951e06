-- name: watched_end()$
-- How many places the ledger has; nothing is there before the first scan.
SELECT coalesce((SELECT size FROM ledger WHERE one), 0);

-- name: scans_after(after, count)
-- What came since the last look, in the order of the ledger. Newer months alone are looked into: what was two days on its
-- way is not live.
SELECT ledger_index, event_id, product_id, batch_id, factory_id, at, country, verdict, risk, leading_factor
FROM events
WHERE ledger_index > :after AND event_id >= first_id_of((now() AT TIME ZONE 'UTC') - interval '2 days')
ORDER BY ledger_index LIMIT :count;

-- name: scans_between(after, until, factory_id)
-- A stretch of the ledger for one who comes back; of one factory, or of all when that is NULL.
SELECT ledger_index, event_id, product_id, batch_id, factory_id, at, country, verdict, risk, leading_factor
FROM events
WHERE ledger_index > :after AND ledger_index <= :until
  AND (factory_id = :factory_id::uuid OR :factory_id::uuid IS NULL)
ORDER BY ledger_index;

-- name: api_key(prefix)^
-- What a presented key is held against; the factory's view, which leaves revoked ones out.
SELECT key_id, factory_id, secret_hash FROM factory.api_key_credentials WHERE prefix = :prefix;
