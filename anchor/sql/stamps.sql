-- name: owed_stamps(target, limit)
-- Trees that wait for their stamp, the oldest first.
SELECT s.tree_id, t.root FROM stamps s JOIN trees t USING (tree_id)
WHERE s.target = :target AND s.state <> 'final' ORDER BY s.tree_id LIMIT :limit;

-- name: keep_stamp(evidence, stamped_at, tree_id, target)!
-- The first stamp that comes; another one would prove no more.
UPDATE stamps SET state = 'final', evidence = :evidence, stamped_at = :stamped_at
WHERE tree_id = :tree_id AND target = :target AND state <> 'final';

-- name: evidence_of(tree_id)
-- Everything that proves when a tree was there, in the order of its policy, and nothing before it is final there.
SELECT s.target, s.evidence, s.stamped_at, x.chain_kind, x.chain_id, x.contract, x.hash, x.block_number
FROM stamps s JOIN trees t USING (tree_id) LEFT JOIN transactions x USING (tree_id, target)
WHERE s.tree_id = :tree_id AND s.state = 'final' AND t.state = 'final'
ORDER BY array_position(t.targets, s.target);
