-- name: insert_file(file_id, name, media_type, expires_at)!
-- A file that is being written.
INSERT INTO files (file_id, name, media_type, expires_at) VALUES (:file_id, :name, :media_type, :expires_at);

-- name: insert_piece(file_id, number, data)!
-- The next piece; when the file was taken away meanwhile there is nothing that it could belong to. It need not wait for the
-- disk: the commit that makes the file whole does, and what was written before it is there with it.
INSERT INTO file_pieces (file_id, number, data)
SELECT :file_id::uuid, :number::integer, :data::bytea
FROM (SELECT set_config('synchronous_commit', 'off', true) AS value) AS setting WHERE value = 'off';

-- name: finish_file(file_id, size, sha256)!
-- From now on it is whole.
UPDATE files SET size = :size, sha256 = :sha256 WHERE file_id = :file_id;

-- name: select_file(file_id, now)^
-- A file that is whole and kept.
SELECT file_id, name, media_type, size, sha256, expires_at FROM files
WHERE file_id = :file_id AND sha256 IS NOT NULL AND expires_at > :now;

-- name: select_piece(file_id, number)$
-- One piece, so that a slow reader holds no connection.
SELECT data FROM file_pieces WHERE file_id = :file_id AND number = :number;

-- name: drop_file(file_id)!
-- With its pieces.
DELETE FROM files WHERE file_id = :file_id;

-- name: select_old_files(before, most)
-- Whose time is over, the oldest first.
SELECT file_id FROM files WHERE expires_at < :before ORDER BY expires_at LIMIT :most;

-- name: keep_file(file_id, expires_at)!
-- Until another time than was thought.
UPDATE files SET expires_at = :expires_at WHERE file_id = :file_id;
