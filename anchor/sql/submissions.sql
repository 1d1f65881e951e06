-- name: take(submission_ids, kinds, subject_ids, sizes, roots, urgent, callers, request_ids, methods, digests, audit_ids, actor_kinds, actor_ids, actor_roles, audit_methods, resources, audit_request_ids, address_prefixes, details)
-- Takes roots, claims their requests and accounts for them in one statement: one round trip, one commit for all.
-- A root has no row when its subject or its request was there before, and nothing is done for it. A request_id that
-- another call claims at the same time raises unique_violation, and nothing is done for any.
WITH offered AS MATERIALIZED (
    SELECT * FROM unnest(
        :submission_ids::uuid[], :kinds::smallint[], :subject_ids::uuid[], :sizes::bigint[], :roots::bytea[],
        :urgent::boolean[], :callers::text[], :request_ids::uuid[], :methods::text[], :digests::bytea[],
        :audit_ids::uuid[], :actor_kinds::text[], :actor_ids::text[], :actor_roles::text[], :audit_methods::text[],
        :resources::text[], :audit_request_ids::uuid[], :address_prefixes::text[], :details::text[]
    ) AS offer (
        submission_id, kind, subject_id, size, root, urgent, caller, request_id, method, digest,
        audit_id, actor_kind, actor_id, actor_role, audit_method, resource, audit_request_id, address_prefix, detail
    )
), taken AS (
    INSERT INTO submissions (submission_id, kind, subject_id, size, root, urgent)
    SELECT submission_id, kind, subject_id, size, root, urgent FROM offered
    WHERE NOT EXISTS (
        SELECT FROM idempotency WHERE (caller, request_id) = (offered.caller, offered.request_id)
    )
    ON CONFLICT (subject_id, kind) DO NOTHING
    RETURNING submission_id, created_at
), claimed AS (
    INSERT INTO idempotency (caller, request_id, method, digest, resource_id)
    SELECT caller, request_id, method, digest, submission_id FROM offered JOIN taken USING (submission_id)
), accounted AS (
    INSERT INTO audit
        (audit_id, at, actor_kind, actor_id, actor_role, method, resource, request_id, address_prefix, detail)
    SELECT audit_id, now(), actor_kind, actor_id, actor_role, audit_method, resource, audit_request_id, address_prefix,
           detail::jsonb
    FROM offered JOIN taken USING (submission_id)
)
SELECT submission_id, created_at FROM taken;

-- name: take_all(submission_ids, kind, subject_ids, sizes, roots, urgent)
-- Takes many roots of one call; no row for those whose subject was there before.
INSERT INTO submissions (submission_id, kind, subject_id, size, root, urgent)
SELECT submission_id, :kind::smallint, subject_id, size, root, :urgent::boolean
FROM unnest(:submission_ids::uuid[], :subject_ids::uuid[], :sizes::bigint[], :roots::bytea[])
     AS offer (submission_id, subject_id, size, root)
ON CONFLICT (subject_id, kind) DO NOTHING
RETURNING submission_id, kind, subject_id, size, root, created_at, tree_id, leaf_index,
          NULL AS state, NULL AS hash, NULL::timestamptz AS final_at;

-- name: hurry(submission_ids)!
-- Roots that wait do not wait for company any more.
UPDATE submissions SET urgent = true WHERE submission_id = ANY(:submission_ids) AND tree_id IS NULL AND NOT urgent;

-- name: find_anchor(subject_id, kind)^
-- A submission with how far its tree is; by the unique index on the subject.
SELECT s.submission_id, s.kind, s.subject_id, s.size, s.root, s.created_at, s.tree_id, s.leaf_index,
       x.state, x.chain_kind, x.chain_id, x.contract, x.hash, x.block_number, x.final_at
FROM submissions s LEFT JOIN progress x USING (tree_id)
WHERE s.subject_id = :subject_id AND s.kind = :kind;

-- name: find_anchors(subject_ids, kind)
-- As find_anchor, for many subjects.
SELECT s.submission_id, s.kind, s.subject_id, s.size, s.root, s.created_at, s.tree_id, s.leaf_index,
       x.state, x.chain_kind, x.chain_id, x.contract, x.hash, x.block_number, x.final_at
FROM submissions s LEFT JOIN progress x USING (tree_id)
WHERE s.subject_id = ANY(:subject_ids::uuid[]) AND s.kind = :kind;

-- name: list_anchors(kind, before, states, pending, subject_ids, from_time, to_time, limit)
-- A page, newest first. Roots that wait and roots with a leaf have an index each, with their ids in order. Ids are UUIDv7,
-- so a time bounds them too, but for what clocks differ.
(
    SELECT submission_id, kind, subject_id, size, root, created_at, tree_id, leaf_index,
           NULL AS state, NULL AS chain_kind, NULL::bigint AS chain_id, NULL AS contract, NULL::bytea AS hash,
           NULL::bigint AS block_number, NULL::timestamptz AS final_at
    FROM submissions
    WHERE tree_id IS NULL AND :states::text[] IS NULL
      AND kind = :kind AND submission_id < :before
      AND (:subject_ids::uuid[] IS NULL OR subject_id = ANY(:subject_ids::uuid[]))
      AND created_at >= :from_time AND created_at < :to_time
    ORDER BY submission_id DESC LIMIT :limit
) UNION ALL (
    SELECT s.submission_id, s.kind, s.subject_id, s.size, s.root, s.created_at, s.tree_id, s.leaf_index,
           x.state, x.chain_kind, x.chain_id, x.contract, x.hash, x.block_number, x.final_at
    FROM submissions s JOIN progress x USING (tree_id)
    WHERE s.tree_id IS NOT NULL AND NOT :pending::boolean
      AND (:states::text[] IS NULL OR x.state = ANY(:states::text[]))
      AND s.kind = :kind AND s.submission_id < :before
      AND (:subject_ids::uuid[] IS NULL OR s.subject_id = ANY(:subject_ids::uuid[]))
      AND s.created_at >= :from_time AND s.created_at < :to_time
    ORDER BY s.submission_id DESC LIMIT :limit
) ORDER BY submission_id DESC LIMIT :limit;

-- name: final_anchors(after, limit)
-- Anchors after a position, all of one tree: positions follow each other without gaps, so one tree holds the next one.
-- The index has leaves by 256.
WITH tree AS (
    SELECT tree_id, first_position, :after::bigint + 1 - first_position AS first_leaf FROM trees
    WHERE first_position <= :after::bigint + 1
    ORDER BY first_position DESC LIMIT 1
)
SELECT tree.first_position + s.leaf_index AS position,
       s.submission_id, s.kind, s.subject_id, s.size, s.root, s.created_at, s.tree_id, s.leaf_index,
       x.state, x.chain_kind, x.chain_id, x.contract, x.hash, x.block_number, x.final_at
FROM tree JOIN progress x USING (tree_id) CROSS JOIN LATERAL (
    SELECT * FROM submissions
    WHERE tree_id = tree.tree_id AND leaf_index >> 8 >= tree.first_leaf >> 8 AND leaf_index >= tree.first_leaf
    ORDER BY leaf_index >> 8, leaf_index LIMIT :limit
) s
ORDER BY s.leaf_index;

-- name: find_tree(tree_id)^
-- Root and size of an anchored tree.
SELECT root, size FROM trees WHERE tree_id = :tree_id;

-- name: read_tiles(tree_id, levels, numbers)
-- The tiles that one proof needs; by primary key.
SELECT level, number, hashes FROM tiles
WHERE tree_id = :tree_id
  AND (level, number) IN (SELECT * FROM unnest(:levels::smallint[], :numbers::integer[]));
