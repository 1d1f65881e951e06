-- Which checkpoints Anchor has, and the keys that ever signed one.

ALTER TABLE ledger_checkpoints ADD submitted_at timestamptz;
COMMENT ON COLUMN ledger_checkpoints.submitted_at IS 'When Anchor had accepted the root; NULL until then.';
CREATE INDEX ledger_checkpoints_unsubmitted ON ledger_checkpoints (size) WHERE submitted_at IS NULL;

CREATE TABLE ledger_keys (
  verifier text PRIMARY KEY,
  since timestamptz NOT NULL
);
COMMENT ON TABLE ledger_keys IS 'Public keys (C2SP vkey) that sign, or once signed, checkpoints: what the service tells of itself.';

GRANT UPDATE (submitted_at) ON ledger_checkpoints TO voketag_scan;
GRANT SELECT, INSERT ON ledger_keys TO voketag_scan;
