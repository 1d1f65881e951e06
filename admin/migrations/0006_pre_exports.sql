-- Files that are kept for whoever asked for them, and the exports that make them.

CREATE TABLE files (
  file_id uuid PRIMARY KEY,
  name text NOT NULL,
  media_type text NOT NULL,
  size bigint NOT NULL DEFAULT 0,
  sha256 bytea CHECK (octet_length(sha256) = 32),
  created_at timestamptz NOT NULL DEFAULT now(),
  expires_at timestamptz NOT NULL
);
CREATE INDEX files_expiry ON files (expires_at);
COMMENT ON COLUMN files.sha256 IS 'Of the whole content, which never changes from then on; NULL while it is written.';

CREATE TABLE file_pieces (
  file_id uuid NOT NULL REFERENCES files ON DELETE CASCADE,
  number integer NOT NULL CHECK (number >= 0),
  data bytea NOT NULL,
  PRIMARY KEY (file_id, number)
);
ALTER TABLE file_pieces ALTER data SET STORAGE EXTERNAL;  -- what compresses well is compressed already, or passes once

CREATE TABLE exports (
  export_id uuid PRIMARY KEY,
  user_id uuid NOT NULL REFERENCES users,
  role text NOT NULL,
  kind text NOT NULL,
  format text NOT NULL,
  from_time timestamptz,
  to_time timestamptz,
  factory_id uuid,
  state text NOT NULL DEFAULT 'WAITING' CHECK (state IN ('WAITING', 'RUNNING', 'DONE', 'FAILED', 'EXPIRED')),
  row_count bigint NOT NULL DEFAULT 0,
  failure text NOT NULL DEFAULT '',
  file_id uuid REFERENCES files ON DELETE SET NULL,
  created_at timestamptz NOT NULL DEFAULT now(),
  finished_at timestamptz,
  CHECK (state <> 'DONE' OR file_id IS NOT NULL)
);
CREATE INDEX exports_unfinished ON exports (user_id) WHERE state IN ('WAITING', 'RUNNING');
CREATE INDEX exports_file ON exports (file_id);
COMMENT ON COLUMN exports.role IS 'Of the person when they asked; who has another one since does not get the file.';
COMMENT ON COLUMN exports.file_id IS 'Of the worker that runs it now: another one that runs it still can write no more.';

CREATE FUNCTION iso_time(at timestamptz) RETURNS text LANGUAGE sql STABLE PARALLEL SAFE
RETURN to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"');

GRANT SELECT, INSERT, UPDATE, DELETE ON files, exports TO voketag_admin;
GRANT SELECT, INSERT, DELETE ON file_pieces TO voketag_admin;
