-- Logins by other providers (OpenID Connect): those under way, and who is whom there.

CREATE TABLE oidc_logins (
  state_hash bytea PRIMARY KEY CHECK (octet_length(state_hash) = 32),
  secret_hash bytea NOT NULL CHECK (octet_length(secret_hash) = 32),
  provider text NOT NULL,
  expires_at timestamptz NOT NULL,
  taken boolean NOT NULL DEFAULT false,
  subject text,
  email text,
  CHECK (taken OR subject IS NULL)
);
CREATE INDEX oidc_logins_expiry ON oidc_logins (expires_at);
COMMENT ON COLUMN oidc_logins.taken IS 'The code was, or is being, given to the provider: nobody may do so again.';
COMMENT ON COLUMN oidc_logins.subject IS 'Whom the provider proved; NULL until then.';
COMMENT ON COLUMN oidc_logins.email IS 'What the provider verified and may speak for, else NULL.';

CREATE TABLE oidc_links (
  issuer text NOT NULL,
  subject text NOT NULL,
  user_id uuid NOT NULL REFERENCES users,
  created_at timestamptz NOT NULL,
  PRIMARY KEY (issuer, subject),
  UNIQUE (user_id, issuer)
);

GRANT SELECT, INSERT, UPDATE, DELETE ON oidc_logins TO voketag_admin;
GRANT SELECT, INSERT, DELETE ON oidc_links TO voketag_admin;
