-- Accounts and their keys, and what every schema has: idempotency and audit.

CREATE TABLE factories (
  factory_id uuid PRIMARY KEY,
  name text NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE api_keys (
  key_id uuid PRIMARY KEY,
  factory_id uuid NOT NULL REFERENCES factories,
  prefix text NOT NULL UNIQUE,
  secret_hash bytea NOT NULL CHECK (octet_length(secret_hash) = 32),
  created_at timestamptz NOT NULL DEFAULT now(),
  revoked_at timestamptz
);

CREATE TABLE idempotency (
  caller text NOT NULL,
  request_id uuid NOT NULL,
  method text NOT NULL,
  digest bytea NOT NULL,
  resource_id uuid NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (caller, request_id)
);

CREATE TABLE audit (
  audit_id uuid PRIMARY KEY,
  at timestamptz NOT NULL,
  actor_kind text NOT NULL,
  actor_id text NOT NULL,
  method text NOT NULL,
  resource text NOT NULL,
  request_id uuid,
  address_prefix text NOT NULL,
  detail jsonb NOT NULL
);

CREATE VIEW audit_rows AS
  SELECT audit_id, at, actor_kind, actor_id, method, resource, request_id, address_prefix, detail FROM audit;
COMMENT ON VIEW audit_rows IS 'Who changed what here; admin collects it by audit_id (UUIDv7) and chains it.';

GRANT USAGE ON SCHEMA factory TO voketag_factory, voketag_scan, voketag_admin;
GRANT SELECT, INSERT, UPDATE ON factories, api_keys TO voketag_factory;
GRANT SELECT, INSERT, DELETE ON idempotency TO voketag_factory;
GRANT SELECT, INSERT ON audit TO voketag_factory;
GRANT SELECT ON audit_rows TO voketag_admin;
