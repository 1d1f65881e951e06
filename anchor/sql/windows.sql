-- name: pending_window(since, limit)^
-- The oldest of the roots that wait, with ids from `since` on; for how long, whether there are as many as a window takes,
-- and whether one is urgent. One clock for all: the database's. The index has entries of roots that wait no more, until
-- vacuum takes them out: they are behind `since`.
SELECT oldest.submission_id AS oldest, extract(epoch FROM clock_timestamp() - oldest.created_at)::float8 AS waited_seconds,
       (SELECT count(*) FROM (
            SELECT FROM submissions WHERE tree_id IS NULL AND submission_id >= :since::uuid LIMIT :limit
        ) AS pending) AS pending,
       EXISTS (SELECT FROM submissions WHERE tree_id IS NULL AND urgent AND submission_id >= :since::uuid) AS urgent
FROM (
    SELECT submission_id, created_at FROM submissions
    WHERE tree_id IS NULL AND submission_id >= :since::uuid ORDER BY submission_id LIMIT 1
) AS oldest;

-- name: lock_windows()!
-- One window closes at a time, whichever target's process does it; the lock ends with the transaction.
SELECT pg_advisory_xact_lock(hashtext('anchor.windows'));

-- name: pending_roots(limit)
-- The oldest roots that no tree has.
SELECT submission_id, kind, subject_id, size, root FROM submissions
WHERE tree_id IS NULL ORDER BY submission_id LIMIT :limit;

-- name: insert_tree(root, size, targets, needed)$
-- A closed window, and the policy by which it becomes final.
INSERT INTO trees (root, size, targets, needed) VALUES (:root, :size, :targets::text[], :needed) RETURNING tree_id;

-- name: insert_stamps(tree_id, targets)!
-- Every target owes the tree something from here on.
INSERT INTO stamps (tree_id, target) SELECT :tree_id::bigint, target FROM unnest(:targets::text[]) AS target;

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

-- name: owes(target, limit)$
-- Whether a target owes so many trees.
SELECT count(*) >= :limit::bigint FROM stamps WHERE target = :target AND state = 'waiting';

-- name: has_unbegun(target)$
-- Whether a window closed for which the target has no transaction yet.
SELECT EXISTS (
    SELECT FROM stamps s WHERE s.target = :target AND s.state <> 'final'
    AND NOT EXISTS (SELECT FROM transactions x WHERE (x.tree_id, x.target) = (s.tree_id, s.target))
);

-- name: begin_transactions(chain_kind, chain_id, contract, sender, fence, target)!
-- A transaction for each tree that the target owes one.
INSERT INTO transactions (tree_id, target, chain_kind, chain_id, contract, sender, fence)
SELECT s.tree_id, s.target, :chain_kind::text, :chain_id::bigint, :contract::text, :sender::text, :fence::bigint
FROM stamps s WHERE s.target = :target AND s.state <> 'final'
AND NOT EXISTS (SELECT FROM transactions x WHERE (x.tree_id, x.target) = (s.tree_id, s.target))
ORDER BY s.tree_id;
