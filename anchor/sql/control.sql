-- name: read_freeze()^
-- Whether anchoring stands still.
SELECT frozen, why, changed_at FROM control;

-- name: is_frozen()$
-- The submitter asks before it closes a window, signs or sends.
SELECT frozen FROM control;

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
SELECT x.tree_id, t.root, t.size, x.state, x.chain_kind, x.chain_id, x.contract, x.sender, x.hash, x.block_number
FROM transactions x JOIN trees t USING (tree_id)
WHERE x.tree_id = coalesce(
    (SELECT tree_id FROM attempts WHERE hash = :hash::bytea),
    (SELECT tree_id FROM transactions WHERE hash = :hash::bytea LIMIT 1)
);

-- name: signed_attempts(tree_id)
-- Everything ever signed for a tree, oldest first.
SELECT hash, nonce, max_fee, priority_fee, signed_at, sent_at FROM attempts WHERE tree_id = :tree_id ORDER BY number;

-- name: find_target(tree_id)^
-- Which contract a tree's root is for.
SELECT chain_id, contract FROM transactions WHERE tree_id = :tree_id;

-- name: read_backlog()^
-- What waits, and for how long. One clock for all: the database's.
SELECT (SELECT count(*) FROM submissions WHERE tree_id IS NULL) AS pending,
       coalesce((SELECT extract(epoch FROM now() - created_at)::float8 FROM submissions
                 WHERE tree_id IS NULL ORDER BY submission_id LIMIT 1), 0) AS pending_seconds,
       coalesce((SELECT extract(epoch FROM now() - min(s.created_at))::float8
                 FROM transactions x JOIN submissions s ON s.tree_id = x.tree_id AND s.leaf_index = 0
                 WHERE x.state <> 'final'), 0) AS open_seconds;

-- name: newest_account()^
-- The account and contract of the newest transaction, with the account's next nonce.
SELECT chain_id, contract, sender,
       (SELECT coalesce(max(nonce) + 1, 0) FROM transactions
        WHERE (chain_id, sender) = (newest.chain_id, newest.sender)) AS next_nonce
FROM (SELECT chain_id, contract, sender FROM transactions ORDER BY tree_id DESC LIMIT 1) AS newest;
