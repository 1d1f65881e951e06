-- name: hold_ledger()^
-- The ledger's end, held until the transaction ends: entries are appended one group after the other.
SELECT origin, size, last FROM ledger WHERE one FOR UPDATE;

-- name: begin_ledger(origin, last)!
-- The ledger's only row, before its first entry; whoever comes second waits and finds it there.
INSERT INTO ledger (origin, size, last) VALUES (:origin, 0, :last) ON CONFLICT (one) DO NOTHING;

-- name: read_ledger()^
-- The ledger's end as committed.
SELECT origin, size, last FROM ledger WHERE one;

-- name: move_ledger(size, last)!
-- The new end, in the transaction that writes entries and tiles.
UPDATE ledger SET size = :size, last = :last WHERE one;

-- name: put_tiles(levels, numbers, hashes)!
-- New tiles, and grown ones over their shorter selves.
INSERT INTO ledger_tiles (level, number, hashes)
SELECT level, number, hashes
FROM unnest(:levels::smallint[], :numbers::bigint[], :hashes::bytea[]) AS tile (level, number, hashes)
ON CONFLICT (level, number) DO UPDATE SET hashes = excluded.hashes;

-- name: ledger_tiles(levels, numbers)
-- The tiles that a proof or the right edge needs; by primary key.
SELECT level, number, hashes FROM ledger_tiles
WHERE (level, number) IN (SELECT * FROM unnest(:levels::smallint[], :numbers::bigint[]));

-- name: latest_checkpoint()^
-- The largest signed tree; the primary key read from its end.
SELECT size, root, note, signed_at FROM ledger_checkpoints ORDER BY size DESC LIMIT 1;

-- name: checkpoint_of(size)^
-- The signed tree of a size; by primary key.
SELECT size, note FROM ledger_checkpoints WHERE size = :size;

-- name: checkpoints_from(first, most)
-- A page of checkpoints in order of size, for an audit.
SELECT size, note FROM ledger_checkpoints WHERE size >= :first ORDER BY size LIMIT :most;

-- name: insert_checkpoint(size, root, note, signed_at)!
-- A signed tree; a signer that came second has signed the same, since Ed25519 signs a text in one way.
INSERT INTO ledger_checkpoints (size, root, note, signed_at) VALUES (:size, :root, :note, :signed_at)
ON CONFLICT (size) DO NOTHING;

-- name: unsubmitted_checkpoints(above, most)
-- Checkpoints that Anchor may not have yet, the oldest first; by their partial index.
SELECT size, root FROM ledger_checkpoints WHERE submitted_at IS NULL AND size > :above ORDER BY size LIMIT :most;

-- name: count_unsubmitted()$
-- What waits for Anchor; by the partial index, few rows in a steady state.
SELECT count(*) FROM ledger_checkpoints WHERE submitted_at IS NULL;

-- name: submitted_checkpoint(size, at)!
-- Anchor has it in a row of its own.
UPDATE ledger_checkpoints SET submitted_at = :at WHERE size = :size AND submitted_at IS NULL;

-- name: insert_ledger_key(verifier, since)!
-- A key begins to sign.
INSERT INTO ledger_keys (verifier, since) VALUES (:verifier, :since) ON CONFLICT DO NOTHING;

-- name: ledger_keys()
-- Every key that ever signed, the newest first; a handful.
SELECT verifier FROM ledger_keys ORDER BY since DESC, verifier;
