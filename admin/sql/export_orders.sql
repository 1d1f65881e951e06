-- name: lock_orders(person)$
-- A person's orders come one after the other, or two at once would both find room.
SELECT pg_advisory_xact_lock(hashtextextended(:person, 0));

-- name: count_orders(user_id)$
-- Exports of a person that are under way.
SELECT count(*) FROM exports WHERE user_id = :user_id AND state IN ('WAITING', 'RUNNING');

-- name: insert_order(export_id, user_id, role, kind, format, from_time, to_time, factory_id)!
-- An export that waits for a worker.
INSERT INTO exports (export_id, user_id, role, kind, format, from_time, to_time, factory_id)
VALUES (:export_id, :user_id, :role, :kind, :format, :from_time, :to_time, :factory_id);

-- name: select_order(export_id, user_id, now)^
-- An export of this person, or of whomever, with its file when that is whole and kept.
SELECT export_id, user_id, kind, format, from_time, to_time, factory_id, role, state, row_count, failure,
  exports.created_at, finished_at, file.file_id, name, media_type, size, sha256, expires_at
FROM exports LEFT JOIN files file ON file.file_id = exports.file_id AND state = 'DONE' AND expires_at > :now
WHERE export_id = :export_id AND (:user_id::uuid IS NULL OR user_id = :user_id);

-- name: select_orders(before, user_id, kind, state, page_size, now)
-- A page of the same, newest first: of one person by exports_person, of all by the primary key.
SELECT export_id, user_id, kind, format, from_time, to_time, factory_id, role, state, row_count, failure,
  exports.created_at, finished_at, file.file_id, name, media_type, size, sha256, expires_at
FROM exports LEFT JOIN files file ON file.file_id = exports.file_id AND state = 'DONE' AND expires_at > :now
WHERE export_id < :before
  AND (:user_id::uuid IS NULL OR user_id = :user_id)
  AND (:kind::text IS NULL OR kind = :kind)
  AND (:state::text IS NULL OR state = :state)
ORDER BY export_id DESC LIMIT :page_size;

-- name: lock_order(export_id)^
-- The export that a worker is about to run or gives up, or somebody calls off.
SELECT user_id, kind, format, from_time, to_time, factory_id, role, state, file_id FROM exports WHERE export_id = :export_id
FOR UPDATE;

-- name: run_order(export_id, file_id)!
-- From now on this file counts, and what another worker still writes does not.
UPDATE exports SET state = 'RUNNING', row_count = 0, file_id = :file_id WHERE export_id = :export_id;

-- name: count_rows(export_id, file_id, row_count)!
-- How far it is.
UPDATE exports SET row_count = :row_count WHERE export_id = :export_id AND file_id = :file_id;

-- name: finish_order(export_id, file_id, row_count, now)!
-- The file is whole, unless another worker has taken the export over.
UPDATE exports SET state = 'DONE', row_count = :row_count, finished_at = :now
WHERE export_id = :export_id AND file_id = :file_id AND state = 'RUNNING';

-- name: fail_order(export_id, failure, now)!
-- There will be no file.
UPDATE exports SET state = 'FAILED', failure = :failure, finished_at = :now
WHERE export_id = :export_id AND state IN ('WAITING', 'RUNNING');

-- name: cancel_order(export_id, now)!
-- There will be no file, since nobody wants it any more.
UPDATE exports SET state = 'CANCELLED', finished_at = :now
WHERE export_id = :export_id AND state IN ('WAITING', 'RUNNING');

-- name: expire_orders(file_id)!
-- The file is about to go.
UPDATE exports SET state = 'EXPIRED' WHERE file_id = :file_id AND state = 'DONE';
