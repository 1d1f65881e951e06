-- name: submit(submission_id, kind, subject_id, size, root, caller, request_id, method, digest, audit_id, actor_kind, actor_id, audit_method, resource, address_prefix, detail)^
-- Takes the root, claims the request and accounts for it in one statement: one round trip, one commit.
-- No row: this subject was submitted before. A request_id used before raises unique_violation and changes nothing.
WITH taken AS (
    INSERT INTO submissions (submission_id, kind, subject_id, size, root)
    VALUES (:submission_id, :kind, :subject_id, :size, :root)
    ON CONFLICT (subject_id, kind) DO NOTHING
    RETURNING submission_id, created_at
), claimed AS (
    INSERT INTO idempotency (caller, request_id, method, digest, resource_id)
    SELECT :caller::text, :request_id::uuid, :method::text, :digest::bytea, submission_id FROM taken
), accounted AS (
    INSERT INTO audit (audit_id, at, actor_kind, actor_id, method, resource, request_id, address_prefix, detail)
    SELECT :audit_id::uuid, now(), :actor_kind::text, :actor_id::text, :audit_method::text, :resource::text,
           :request_id::uuid, :address_prefix::text, :detail::jsonb
    FROM taken
)
SELECT created_at FROM taken;

-- name: find_anchor(subject_id, kind)^
-- A submission with how far its tree is; by the unique index on the subject.
SELECT s.submission_id, s.kind, s.subject_id, s.size, s.root, s.created_at, s.tree_id, s.leaf_index,
       x.state, x.chain_kind, x.chain_id, x.contract, x.hash, x.block_number, x.final_at
FROM submissions s LEFT JOIN transactions x USING (tree_id)
WHERE s.subject_id = :subject_id AND s.kind = :kind;

-- name: final_anchors(after, limit)
-- Anchors after a position, all of one tree: positions follow each other without gaps, so one tree holds the next one.
WITH tree AS (
    SELECT tree_id, first_position FROM trees
    WHERE first_position <= :after::bigint + 1
    ORDER BY first_position DESC LIMIT 1
)
SELECT tree.first_position + s.leaf_index AS position,
       s.submission_id, s.kind, s.subject_id, s.size, s.root, s.created_at, s.tree_id, s.leaf_index,
       x.state, x.chain_kind, x.chain_id, x.contract, x.hash, x.block_number, x.final_at
FROM tree JOIN submissions s USING (tree_id) JOIN transactions x USING (tree_id)
WHERE s.leaf_index >= :after::bigint + 1 - tree.first_position
ORDER BY s.leaf_index LIMIT :limit;

-- name: find_tree(tree_id)^
-- Root and size of an anchored tree.
SELECT root, size FROM trees WHERE tree_id = :tree_id;

-- name: read_tiles(tree_id, levels, numbers)
-- The tiles that one proof needs; by primary key.
SELECT level, number, hashes FROM tiles
WHERE tree_id = :tree_id
  AND (level, number) IN (SELECT * FROM unnest(:levels::smallint[], :numbers::integer[]));
