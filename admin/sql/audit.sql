-- name: new_audit_rows(source, most)
-- A service's rows that are not in the log yet, up to the oldest transaction under way; by its index in that order.
SELECT taken.* FROM (
  SELECT coalesce((SELECT xid FROM audit_cursors WHERE source = :source), '0'::xid8) AS xid,
    coalesce((SELECT position FROM audit_cursors WHERE source = :source), 0) AS position
) AS cursor, audit_rows_of(:source, cursor.xid, cursor.position, :most) AS taken;

-- name: move_audit_cursor(source, xid, position)!
-- A service's rows up to this one are in the log; in the transaction that puts them there.
INSERT INTO audit_cursors (source, xid, position) VALUES (:source, :xid, :position)
ON CONFLICT (source) DO UPDATE SET xid = excluded.xid, position = excluded.position;

-- name: foreign_audit_cursors()$
-- Services of whose rows some were taken in a future of this server: it was filled from a dump of another.
SELECT coalesce(array_agg(source ORDER BY source), '{}') FROM audit_cursors
WHERE xid >= pg_snapshot_xmax(pg_current_snapshot());

-- name: audit_is_news(signed)$
-- Whether anything is behind the last checkpoint but its own submission, or each would be followed by another for ever.
SELECT EXISTS (
  SELECT FROM audit_chain WHERE number >= :signed
    AND NOT (source = 'anchor' AND actor_kind = 'service' AND actor_id = 'admin' AND method LIKE '%/SubmitRoot')
);

-- name: plan_each_time()!
-- What a page is asked for by decides by which index it is read: a plan for all filters would be right for none.
SET LOCAL plan_cache_mode = force_custom_plan;

-- name: audit_page(before_at, before_number, from_time, by_kind, by_actor, by_method, by_resource, by_source, by_result, looked, actor_kind, actor_id, method, resource, source, result, page_size)
-- A page, newest first. So many are looked at and no more, by the index of one thing that it is asked for by (`by_`).
SELECT number, source, audit_id, at, actor_kind, actor_id, actor_role, method, resource, request_id, address_prefix,
  result, detail
FROM (
  SELECT * FROM audit_chain
  WHERE (at, number) < (:before_at, :before_number)
    AND (:from_time::timestamptz IS NULL OR at >= :from_time)
    AND (:by_kind::text IS NULL OR actor_kind = :by_kind)
    AND (:by_actor::text IS NULL OR actor_id = :by_actor)
    AND (:by_method::text IS NULL OR method = :by_method)
    AND (:by_resource::text IS NULL OR resource = :by_resource)
    AND (:by_source::text IS NULL OR source = :by_source)
    AND (:by_result::text IS NULL OR result = :by_result)
  ORDER BY at DESC, number DESC LIMIT :looked
) looked_at
WHERE (:actor_kind::text IS NULL OR actor_kind = :actor_kind)
  AND (:actor_id::text IS NULL OR actor_id = :actor_id)
  AND (:method::text IS NULL OR method = :method)
  AND (:resource::text IS NULL OR resource = :resource)
  AND (:source::text IS NULL OR source = :source)
  AND (:result::text IS NULL OR result = :result)
ORDER BY at DESC, number DESC LIMIT :page_size;

-- name: audit_looked_until(before_at, before_number, from_time, by_kind, by_actor, by_method, by_resource, by_source, by_result, looked)^
-- The last of those that `audit_page` looked at; none when it came to the end.
SELECT at, number FROM audit_chain
WHERE (at, number) < (:before_at, :before_number)
  AND (:from_time::timestamptz IS NULL OR at >= :from_time)
  AND (:by_kind::text IS NULL OR actor_kind = :by_kind)
  AND (:by_actor::text IS NULL OR actor_id = :by_actor)
  AND (:by_method::text IS NULL OR method = :by_method)
  AND (:by_resource::text IS NULL OR resource = :by_resource)
  AND (:by_source::text IS NULL OR source = :by_source)
  AND (:by_result::text IS NULL OR result = :by_result)
ORDER BY at DESC, number DESC OFFSET :looked LIMIT 1;

-- name: audit_entry(number)^
-- One entry; by primary key.
SELECT number, source, audit_id, at, actor_kind, actor_id, actor_role, method, resource, request_id, address_prefix,
  result, detail
FROM audit_chain WHERE number = :number;

-- name: audit_stretch(first, stop, from_time, to_time, actor_kind, actor_id, method, resource, source, result)
-- The entries of a stretch of the log that fit; by primary key, so that each statement is short whatever fits.
SELECT number, source, audit_id, at, actor_kind, actor_id, actor_role, method, resource, request_id, address_prefix,
  result, detail
FROM audit_chain
WHERE number >= :first AND number < :stop
  AND (:from_time::timestamptz IS NULL OR at >= :from_time)
  AND (:to_time::timestamptz IS NULL OR at < :to_time)
  AND (:actor_kind::text IS NULL OR actor_kind = :actor_kind)
  AND (:actor_id::text IS NULL OR actor_id = :actor_id)
  AND (:method::text IS NULL OR method = :method)
  AND (:resource::text IS NULL OR resource = :resource)
  AND (:source::text IS NULL OR source = :source)
  AND (:result::text IS NULL OR result = :result)
ORDER BY number;

-- name: audit_pages(first, most)
-- The log from a place on, for whoever audits it; by primary key.
SELECT number, source, audit_id, at, actor_kind, actor_id, actor_role, method, resource, request_id, address_prefix,
  result, detail
FROM audit_chain WHERE number >= :first ORDER BY number LIMIT :most;

-- name: audit_differences(source)
-- Rows of a service that are not what was taken; the one statement here that reads everything.
SELECT number, audit_id, what FROM audit_differences(:source);
