-- What proves a person beside the password. The secret is not here: it follows from the nonce and a root that the server holds.
CREATE TABLE second_factors (
  user_id uuid PRIMARY KEY REFERENCES users,
  nonce bytea NOT NULL CHECK (octet_length(nonce) = 16),
  confirmed boolean NOT NULL DEFAULT false,
  last_step bigint NOT NULL DEFAULT 0,
  recovery bytea[] NOT NULL DEFAULT '{}'
);
GRANT SELECT, INSERT, UPDATE, DELETE ON second_factors TO voketag_admin;
