-- People, their sessions, and what every schema has: idempotency and audit.

CREATE TABLE users (
  user_id uuid PRIMARY KEY,
  email text UNIQUE CHECK (email = lower(email)),
  name text NOT NULL,
  role text NOT NULL CHECK (role IN ('admin', 'auditor', 'factory_manager', 'factory_operator', 'support')),
  factory_id uuid,
  state text NOT NULL DEFAULT 'active' CHECK (state IN ('active', 'disabled', 'deleted')),
  password_hash text,
  created_at timestamptz NOT NULL DEFAULT now(),
  updated_at timestamptz NOT NULL DEFAULT now(),
  CONSTRAINT users_factory CHECK ((role IN ('factory_manager', 'factory_operator')) = (factory_id IS NOT NULL)),
  CONSTRAINT users_forgotten CHECK (
    CASE WHEN state = 'deleted' THEN email IS NULL AND name = '' AND password_hash IS NULL ELSE email IS NOT NULL END
  )
);

CREATE TABLE sessions (
  session_id uuid PRIMARY KEY,
  user_id uuid NOT NULL REFERENCES users,
  created_at timestamptz NOT NULL,
  expires_at timestamptz NOT NULL,
  ended_at timestamptz,
  address_prefix text NOT NULL
);
CREATE INDEX sessions_open ON sessions (user_id) WHERE ended_at IS NULL;
CREATE INDEX sessions_expiry ON sessions (expires_at);

CREATE TABLE refresh_tokens (
  token_hash bytea PRIMARY KEY CHECK (octet_length(token_hash) = 32),
  session_id uuid NOT NULL REFERENCES sessions ON DELETE CASCADE,
  used_at timestamptz
);
CREATE INDEX refresh_tokens_session ON refresh_tokens (session_id);

CREATE TABLE password_resets (
  token_hash bytea PRIMARY KEY CHECK (octet_length(token_hash) = 32),
  user_id uuid NOT NULL REFERENCES users,
  created_at timestamptz NOT NULL,
  expires_at timestamptz NOT NULL
);
CREATE INDEX password_resets_user ON password_resets (user_id);

CREATE TABLE login_failures (
  subject text PRIMARY KEY,
  failures int NOT NULL,
  failed_at timestamptz NOT NULL,
  locked_until timestamptz NOT NULL
);
CREATE INDEX login_failures_age ON login_failures (failed_at);

CREATE TABLE idempotency (
  caller text NOT NULL,
  request_id uuid NOT NULL,
  method text NOT NULL,
  digest bytea NOT NULL,
  resource_id uuid NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (caller, request_id)
);
CREATE INDEX idempotency_age ON idempotency (created_at);

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

GRANT USAGE ON SCHEMA admin TO voketag_admin;
GRANT SELECT, INSERT, UPDATE ON users TO voketag_admin;
GRANT SELECT, INSERT, UPDATE, DELETE ON sessions, refresh_tokens, password_resets, login_failures TO voketag_admin;
GRANT SELECT, INSERT, DELETE ON idempotency TO voketag_admin;
GRANT SELECT, INSERT ON audit TO voketag_admin;
