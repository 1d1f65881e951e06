-- The audit log, docs/audit.md: the rows of all four services, each committing to the one before, and what signs them.

-- A row is seen once its transaction is over, and transactions end in another order than they write in. But no row can
-- come any more with a number below that of the oldest transaction under way: admin reads up to there, by xid.
ALTER TABLE audit
  ADD actor_role text NOT NULL DEFAULT '',
  ADD result text NOT NULL DEFAULT 'OK',
  ADD xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
  ADD position bigint NOT NULL GENERATED ALWAYS AS IDENTITY;
CREATE INDEX audit_order ON audit (xid, position);
CREATE VIEW audit_rows AS
  SELECT audit_id, at, actor_kind, actor_id, method, resource, request_id, address_prefix, detail, actor_role, result,
    xid, position
  FROM audit;
REVOKE INSERT ON audit FROM voketag_admin;
GRANT INSERT (audit_id, at, actor_kind, actor_id, method, resource, request_id, address_prefix, detail, actor_role,
  result) ON audit TO voketag_admin;
GRANT SELECT ON audit_rows TO voketag_admin;

-- The log. `detail` is the text that was hashed. Nobody of ours may change or delete a row.
CREATE TABLE audit_chain (
  number bigint PRIMARY KEY CHECK (number >= 0),
  source text NOT NULL,
  audit_id uuid NOT NULL,
  at timestamptz NOT NULL,
  actor_kind text NOT NULL,
  actor_id text NOT NULL,
  actor_role text NOT NULL,
  method text NOT NULL,
  resource text NOT NULL,
  request_id uuid,
  address_prefix text NOT NULL,
  result text NOT NULL,
  detail text NOT NULL,
  UNIQUE (source, audit_id)
);
-- One for each thing that pages are asked for by, in the order in which they are shown.
CREATE INDEX audit_chain_at ON audit_chain (at, number);
CREATE INDEX audit_chain_actor ON audit_chain (actor_kind, actor_id, at, number);
CREATE INDEX audit_chain_method ON audit_chain (method, at, number);
CREATE INDEX audit_chain_resource ON audit_chain (resource, at, number);
CREATE INDEX audit_chain_source ON audit_chain (source, at, number);
CREATE INDEX audit_chain_result ON audit_chain (result, at, number) WHERE result <> 'OK';
-- Who uses which methods of which service: without it the planner takes what never occurs together for common.
CREATE STATISTICS audit_chain_together (mcv) ON actor_kind, actor_id, method, source, result FROM audit_chain;

-- How far each service's rows have been taken; changes in the transaction that takes them.
CREATE TABLE audit_cursors (
  source text PRIMARY KEY,
  xid xid8 NOT NULL,
  position bigint NOT NULL
) WITH (fillfactor = 20);

-- The rows of a service after a place, in order, up to the oldest transaction under way.
CREATE FUNCTION audit_rows_of(source text, after_xid xid8, after_position bigint, most integer)
RETURNS TABLE (audit_id uuid, at timestamptz, actor_kind text, actor_id text, actor_role text, method text,
  resource text, request_id uuid, address_prefix text, result text, detail text, xid xid8, "position" bigint)
LANGUAGE plpgsql STABLE AS $$
BEGIN
  RETURN QUERY EXECUTE format(
    'SELECT audit_id, at, actor_kind, actor_id, actor_role, method, resource, request_id, address_prefix, result,
       detail::text, xid, position
     FROM %I.audit_rows
     WHERE (xid, position) > ($1, $2) AND xid < pg_snapshot_xmin(pg_current_snapshot())
     ORDER BY xid, position LIMIT $3', source)
    USING after_xid, after_position, most;
END $$;
REVOKE ALL ON FUNCTION audit_rows_of FROM PUBLIC;
GRANT EXECUTE ON FUNCTION audit_rows_of TO voketag_admin;

-- Where the log ends, its tree and its checkpoints, as mesh.ledger keeps them. What is here follows from the rows.
CREATE TABLE ledger (
  one boolean PRIMARY KEY DEFAULT true CHECK (one),
  origin text NOT NULL,
  size bigint NOT NULL CHECK (size >= 0),
  last bytea NOT NULL CHECK (octet_length(last) = 32)
) WITH (fillfactor = 20);
CREATE TABLE ledger_tiles (
  level smallint NOT NULL CHECK (level BETWEEN 0 AND 7),
  number bigint NOT NULL CHECK (number >= 0),
  hashes bytea NOT NULL CHECK (octet_length(hashes) % 32 = 0 AND octet_length(hashes) BETWEEN 32 AND 8192),
  PRIMARY KEY (level, number)
);
ALTER TABLE ledger_tiles ALTER hashes SET STORAGE EXTERNAL;  -- hashes do not compress
CREATE TABLE ledger_checkpoints (
  size bigint PRIMARY KEY CHECK (size > 0),
  root bytea NOT NULL CHECK (octet_length(root) = 32),
  note bytea NOT NULL,
  signed_at timestamptz NOT NULL,
  submitted_at timestamptz
);
COMMENT ON COLUMN ledger_checkpoints.submitted_at IS 'When Anchor had accepted the root; NULL until then.';
CREATE INDEX ledger_checkpoints_unsubmitted ON ledger_checkpoints (size) WHERE submitted_at IS NULL;
CREATE TABLE ledger_keys (
  verifier text PRIMARY KEY,
  since timestamptz NOT NULL
);

GRANT SELECT, INSERT ON audit_chain, ledger_checkpoints, ledger_keys TO voketag_admin;
GRANT SELECT, INSERT, UPDATE ON audit_cursors, ledger, ledger_tiles TO voketag_admin;
GRANT UPDATE (submitted_at) ON ledger_checkpoints TO voketag_admin;

-- Where a service's rows, as far as they were taken, are not those of the log.
CREATE FUNCTION audit_differences(source text) RETURNS TABLE (number bigint, audit_id uuid, what text)
LANGUAGE plpgsql STABLE AS $$
BEGIN
  RETURN QUERY EXECUTE format(
    'SELECT c.number, coalesce(c.audit_id, r.audit_id),
       CASE WHEN r.audit_id IS NULL THEN ''missing'' WHEN c.audit_id IS NULL THEN ''inserted'' ELSE ''edited'' END
     FROM (SELECT * FROM audit_chain WHERE source = $1) c
     FULL JOIN (
       SELECT taken.* FROM %I.audit_rows taken, audit_cursors cursor
       WHERE cursor.source = $1 AND (taken.xid, taken.position) <= (cursor.xid, cursor.position)
     ) r ON c.audit_id = r.audit_id
     WHERE c.audit_id IS NULL OR r.audit_id IS NULL OR
       (c.at, c.actor_kind, c.actor_id, c.actor_role, c.method, c.resource, c.request_id, c.address_prefix, c.result,
        c.detail)
       IS DISTINCT FROM
       (r.at, r.actor_kind, r.actor_id, r.actor_role, r.method, r.resource, r.request_id, r.address_prefix, r.result,
        r.detail::text)
     ORDER BY 1, 2', source)
    USING source;
END $$;
REVOKE ALL ON FUNCTION audit_differences FROM PUBLIC;
GRANT EXECUTE ON FUNCTION audit_differences TO voketag_admin;
