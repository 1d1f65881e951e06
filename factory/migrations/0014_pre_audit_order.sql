-- What the audit log needs of each row: the actor's role, what came of the call, and an order in which none comes late.

-- A row is seen once its transaction is over, and transactions end in another order than they write in. But no row can
-- come any more with a number below that of the oldest transaction under way: admin reads up to there, by xid.
ALTER TABLE audit
  ADD actor_role text NOT NULL DEFAULT '',
  ADD result text NOT NULL DEFAULT 'OK',
  ADD xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
  ADD position bigint NOT NULL GENERATED ALWAYS AS IDENTITY;
CREATE INDEX audit_order ON audit (xid, position);

CREATE OR REPLACE VIEW audit_rows AS
  SELECT audit_id, at, actor_kind, actor_id, method, resource, request_id, address_prefix, detail, actor_role, result,
    xid, position
  FROM audit;
COMMENT ON VIEW audit_rows IS 'Who changed what here; admin collects it by (xid, position) and chains it.';
GRANT SELECT ON audit_rows TO voketag_admin;

-- The service adds rows and changes none; nor does it say where they stand.
REVOKE INSERT ON audit FROM voketag_factory;
GRANT INSERT (audit_id, at, actor_kind, actor_id, method, resource, request_id, address_prefix, detail, actor_role,
  result) ON audit TO voketag_factory;
