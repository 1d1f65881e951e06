-- name: read_freeze()^
-- Whether anchoring stands still.
SELECT frozen, why, changed_at FROM control;

-- name: is_frozen()$
-- The submitter asks before it closes a window, signs or sends.
SELECT frozen FROM control;

-- name: lock_freeze()^
-- What was so before the change, for the audit; held for the transaction.
SELECT frozen, why FROM control FOR UPDATE;

-- name: set_freeze(frozen, why)^
-- Freezes or goes on; the time is that of the change, so that doing it twice changes no time.
UPDATE control SET frozen = :frozen, why = :why,
    changed_at = CASE WHEN frozen = :frozen THEN changed_at ELSE clock_timestamp() END
RETURNING frozen, why, changed_at;

-- name: retry_transaction(tree_id)!
-- What was sent before this moment is to be sent again; what is in a block is left alone.
UPDATE transactions SET retry_at = clock_timestamp()
WHERE tree_id = :tree_id AND state IN ('built', 'signed', 'sent');

-- name: find_registration(hash)^
-- What a transaction registers: any that was signed for it, or the one that it stands in.
WITH found AS (
    SELECT tree_id, target FROM attempts WHERE hash = :hash::bytea
    UNION ALL
    SELECT tree_id, target FROM transactions WHERE hash = :hash::bytea
    LIMIT 1
)
SELECT x.tree_id, x.target, t.root, t.size, x.state,
       x.chain_kind, x.chain_id, x.contract, x.sender, x.hash, x.block_number
FROM found JOIN transactions x USING (tree_id, target) JOIN trees t USING (tree_id);

-- name: signed_attempts(tree_id, target)
-- Everything ever signed for a tree's transaction, oldest first.
SELECT hash, nonce, max_fee, priority_fee, signed_at, sent_at FROM attempts
WHERE tree_id = :tree_id AND target = :target ORDER BY number;

-- name: places_of(tree_id)
-- What each target has of a tree so far, in the order of its policy: the contract once it has taken it up, and where it stands.
SELECT s.target, x.chain_kind, x.chain_id, x.contract, x.hash, x.block_number
FROM stamps s JOIN trees t USING (tree_id) LEFT JOIN transactions x USING (tree_id, target)
WHERE s.tree_id = :tree_id ORDER BY array_position(t.targets, s.target), s.target;

-- name: read_backlog()^
-- What waits, and for how long. One clock for all: the database's.
SELECT (SELECT count(*) FROM submissions WHERE tree_id IS NULL) AS pending,
       coalesce((SELECT extract(epoch FROM now() - created_at)::float8 FROM submissions
                 WHERE tree_id IS NULL ORDER BY submission_id LIMIT 1), 0) AS pending_seconds,
       coalesce((SELECT extract(epoch FROM now() - min(s.created_at))::float8
                 FROM trees t
                 JOIN submissions s ON s.tree_id = t.tree_id AND s.leaf_index >> 8 = 0 AND s.leaf_index = 0
                 WHERE t.state <> 'final'), 0) AS open_seconds;

-- name: waiting_targets()
-- What each target still owes, and for how long; one that owes nothing is not told.
SELECT target, count(*) AS trees, extract(epoch FROM now() - min(created_at))::float8 AS seconds
FROM stamps WHERE state <> 'final' GROUP BY target ORDER BY target;

-- name: chains()
-- Every chain that a transaction was ever made for, that of the newest first: account and contract of its newest one, the
-- account's next nonce, what is on its way, and for how long its oldest root has waited. From name to name by the index.
WITH RECURSIVE names AS (
    (SELECT target FROM transactions ORDER BY target LIMIT 1)
    UNION ALL
    SELECT following.target
    FROM names n CROSS JOIN LATERAL (
        SELECT target FROM transactions WHERE target > n.target ORDER BY target LIMIT 1
    ) AS following
)
SELECT newest.target, newest.chain_id, newest.contract, newest.sender,
       (SELECT coalesce(max(nonce) + 1, 0) FROM transactions
        WHERE (chain_id, sender) = (newest.chain_id, newest.sender)) AS next_nonce,
       open.*,
       coalesce((SELECT extract(epoch FROM now() - s.created_at)::float8 FROM submissions s
                 WHERE s.tree_id = (SELECT min(tree_id) FROM stamps
                                    WHERE target = newest.target AND state <> 'final')
                   AND s.leaf_index >> 8 = 0 AND s.leaf_index = 0), 0) AS lag_seconds
FROM names n
CROSS JOIN LATERAL (
    SELECT tree_id, target, chain_id, contract, sender FROM transactions
    WHERE target = n.target ORDER BY tree_id DESC LIMIT 1
) AS newest
CROSS JOIN LATERAL (
    SELECT count(*) FILTER (WHERE state = 'built') AS built, count(*) FILTER (WHERE state = 'signed') AS signed,
           count(*) FILTER (WHERE state = 'sent') AS sent, count(*) FILTER (WHERE state = 'mined') AS mined
    FROM transactions WHERE target = n.target AND state <> 'final'
) AS open
ORDER BY newest.tree_id DESC, newest.target;
