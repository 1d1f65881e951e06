-- name: acquire_lease(name, holder, seconds)$
-- Takes the lease when it is free or over, or when its end is farther away than a lease lasts, since then the clock was
-- set back; each holder has the next fence.
INSERT INTO lease AS held (name, holder, fence, expires_at)
VALUES (:name, :holder, 1, clock_timestamp() + make_interval(secs => :seconds::float8))
ON CONFLICT (name) DO UPDATE
SET holder = excluded.holder, fence = held.fence + 1, expires_at = excluded.expires_at
WHERE held.expires_at <= clock_timestamp()
   OR held.expires_at > clock_timestamp() + 2 * make_interval(secs => :seconds::float8)
RETURNING fence;

-- name: renew_lease(seconds, name, fence)$
-- Keeps the lease; nothing when another holder has it.
UPDATE lease SET expires_at = clock_timestamp() + make_interval(secs => :seconds::float8)
WHERE name = :name AND fence = :fence RETURNING fence;

-- name: release_lease(name, fence)!
-- Lets the next holder in at once.
UPDATE lease SET expires_at = clock_timestamp() WHERE name = :name AND fence = :fence;

-- name: hold_lease(name, fence)$
-- First statement of every write: nobody can take the lease until this transaction ends, and a stale holder stops here.
SELECT fence FROM lease WHERE name = :name AND fence = :fence FOR SHARE;

-- name: open_transactions(target, limit)
-- What is not final, in the order of the nonces; what has none yet comes last.
SELECT x.tree_id, t.root, t.size, x.state, x.nonce, x.hash, x.block_number, x.block_hash
FROM transactions x JOIN trees t USING (tree_id)
WHERE x.state <> 'final' AND x.target = :target ORDER BY x.nonce NULLS LAST, x.tree_id LIMIT :limit;

-- name: is_backed_up(limit, target)$
-- Whether one still waits to be sent, or as many as allowed wait at the node.
SELECT count(*) FILTER (WHERE state <> 'sent') > 0 OR count(*) >= :limit::bigint
FROM transactions WHERE state IN ('built', 'signed', 'sent') AND target = :target;

-- name: foreign_transactions(target, chain_id, contract, sender)
-- What other settings left unfinished: it would never become final under these. And what another target has on its way
-- with this account, whose nonces one submitter alone may give out.
SELECT DISTINCT target, chain_id, contract, sender FROM transactions
WHERE state <> 'final' AND CASE WHEN target = :target
    THEN (chain_id, contract, sender) <> (:chain_id, :contract, :sender)
    ELSE (chain_id, sender) = (:chain_id, :sender) END;

-- name: displaced_transactions(target, chain_id, sender, nonce, limit)
-- Registrations that stood in a block although the chain says that their nonces are unused.
SELECT x.tree_id, t.root, t.size, x.state, x.nonce, x.hash, x.block_number, x.block_hash
FROM transactions x JOIN trees t USING (tree_id)
WHERE x.state IN ('mined', 'final') AND x.target = :target
  AND x.chain_id = :chain_id AND x.sender = :sender AND x.nonce >= :nonce
ORDER BY x.nonce LIMIT :limit;

-- name: attempts_of(tree_id, target)
-- Everything signed for a tree, oldest first. What was sent before somebody asked to retry counts as not sent.
SELECT a.number, a.nonce, a.hash, a.raw, a.max_fee, a.priority_fee,
       CASE WHEN x.retry_at IS NULL OR x.retry_at < a.sent_at
            THEN extract(epoch FROM clock_timestamp() - a.sent_at)::float8 END AS sent_seconds_ago
FROM attempts a JOIN transactions x USING (tree_id, target)
WHERE a.tree_id = :tree_id AND a.target = :target ORDER BY a.number;

-- name: next_nonce(chain_id, sender, tree_id, used)$
-- The lowest nonce from `used` on that nothing else has which may still be mined: so one that a reorganisation gave back,
-- or that was signed for and never needed, leaves no gap, behind which the account's later transactions would wait for
-- ever. What was signed for the tree itself holds no nonce: nobody pursues its attempts but the last one.
WITH taken AS (
    SELECT a.nonce FROM attempts a JOIN transactions x USING (tree_id, target)
    WHERE x.chain_id = :chain_id AND x.sender = :sender AND x.tree_id <> :tree_id AND a.nonce >= :used::bigint
      AND (x.state IN ('built', 'signed', 'sent') OR a.hash = x.hash)
)
SELECT min(nonce) FROM (SELECT :used::bigint AS nonce UNION SELECT nonce + 1 FROM taken) AS candidates
WHERE nonce NOT IN (SELECT nonce FROM taken);

-- name: last_final(target, chain_id, contract)^
-- If the chain lost any final block, it lost the highest one.
SELECT x.tree_id, t.root, t.size, x.state, x.nonce, x.hash, x.block_number, x.block_hash
FROM transactions x JOIN trees t USING (tree_id)
WHERE x.state = 'final' AND x.block_hash IS NOT NULL
  AND x.target = :target AND x.chain_id = :chain_id AND x.contract = :contract
ORDER BY x.block_number DESC LIMIT 1;

-- name: insert_attempt(tree_id, target, nonce, hash, raw, max_fee, priority_fee)$
-- Keeps a signed transaction, before it is sent. Bytes that were signed before, for a nonce that was lost and is free
-- again, are the newest once more.
INSERT INTO attempts (tree_id, target, number, nonce, hash, raw, max_fee, priority_fee)
SELECT :tree_id::bigint, :target::text, coalesce(max(number), 0) + 1, :nonce::bigint, :hash::bytea, :raw::bytea,
       :max_fee::bigint, :priority_fee::bigint
FROM attempts WHERE tree_id = :tree_id AND target = :target
ON CONFLICT (hash) DO UPDATE SET number = excluded.number, sent_at = NULL RETURNING number;

-- name: mark_attempt_sent(tree_id, target, number)!
-- The node has it.
UPDATE attempts SET sent_at = clock_timestamp() WHERE tree_id = :tree_id AND target = :target AND number = :number;

-- name: mark_signed(nonce, fence, tree_id, target)!
-- The nonce is taken together with what was signed for it.
UPDATE transactions SET state = 'signed', nonce = :nonce, fence = :fence WHERE tree_id = :tree_id AND target = :target;

-- name: mark_sent(fence, tree_id, target)!
-- The first sending.
UPDATE transactions SET state = 'sent', fence = :fence WHERE tree_id = :tree_id AND target = :target AND state = 'signed';

-- name: mark_mined(hash, block_number, block_hash, gas_used, gas_price, fence, tree_id, target)!
-- It stands in a block, maybe in another one than before; its nonce is that of the attempt which is there.
UPDATE transactions
SET state = 'mined', hash = :hash, block_number = :block_number, block_hash = :block_hash, mined_at = clock_timestamp(),
    gas_used = :gas_used, gas_price = :gas_price,
    nonce = coalesce((SELECT a.nonce FROM attempts a WHERE a.tree_id = :tree_id AND a.hash = :hash), nonce),
    fence = :fence
WHERE tree_id = :tree_id AND target = :target;

-- name: mark_displaced(fence, tree_id, target)!
-- Its block is gone: back on its way. A tree keeps its positions.
UPDATE transactions
SET state = 'sent', hash = NULL, block_number = NULL, block_hash = NULL, mined_at = NULL, final_at = NULL, fence = :fence
WHERE tree_id = :tree_id AND target = :target;

-- name: mark_renonced(nonce, fence, tree_id, target)!
-- It fills a gap.
UPDATE transactions SET nonce = :nonce, fence = :fence WHERE tree_id = :tree_id AND target = :target;

-- name: mark_unsigned(fence, tree_id, target)!
-- Its nonce went to another transaction: it needs a new one.
UPDATE transactions SET state = 'built', nonce = NULL, fence = :fence WHERE tree_id = :tree_id AND target = :target;

-- name: mark_final(fence, tree_id, target)!
-- Deep enough.
UPDATE transactions SET state = 'final', final_at = clock_timestamp(), fence = :fence
WHERE tree_id = :tree_id AND target = :target;

-- name: count_by_state(target)
-- How far a target's transactions are, for its metrics.
SELECT state, count(*) AS transactions FROM transactions
WHERE state <> 'final' AND target = :target GROUP BY state;
