-- name: pending_window(limit)^
-- Whether roots wait, for how long, whether there are as many as a window takes, and whether one is urgent. One clock for
-- all: the database's.
SELECT (SELECT extract(epoch FROM now() - created_at)::float8 FROM submissions
        WHERE tree_id IS NULL ORDER BY submission_id LIMIT 1) AS waited_seconds,
       (SELECT count(*) FROM (SELECT FROM submissions WHERE tree_id IS NULL LIMIT :limit) AS pending) AS pending,
       EXISTS (SELECT FROM submissions WHERE tree_id IS NULL AND urgent) AS urgent;

-- name: pending_roots(limit)
-- The oldest roots that no tree has.
SELECT submission_id, kind, subject_id, size, root FROM submissions
WHERE tree_id IS NULL ORDER BY submission_id LIMIT :limit;

-- name: insert_tree(root, size)$
-- A closed window.
INSERT INTO trees (root, size) VALUES (:root, :size) RETURNING tree_id;

-- name: insert_tiles(tree_id, levels, numbers, hashes)!
-- The tree's hashes, for proofs.
INSERT INTO tiles (tree_id, level, number, hashes)
SELECT :tree_id::bigint, level, number, hashes
FROM unnest(:levels::smallint[], :numbers::integer[], :hashes::bytea[]) AS tile (level, number, hashes);

-- name: place_leaves(tree_id, submission_ids)!
-- Gives each root its leaf, in the order of the ids; a root that already has one is left out, and the caller counts.
UPDATE submissions s SET tree_id = :tree_id, leaf_index = leaf.place - 1
FROM unnest(:submission_ids::uuid[]) WITH ORDINALITY AS leaf (submission_id, place)
WHERE s.submission_id = leaf.submission_id AND s.tree_id IS NULL;

-- name: insert_transaction(tree_id, chain_kind, chain_id, contract, sender, fence)!
-- The tree's transaction, in the transaction that closes its window.
INSERT INTO transactions (tree_id, chain_kind, chain_id, contract, sender, fence)
VALUES (:tree_id, :chain_kind, :chain_id, :contract, :sender, :fence);
