-- Reports of fraud, and what every schema has that keeps changes: idempotency and audit.

CREATE TABLE idempotency (
  caller text NOT NULL,
  request_id uuid NOT NULL,
  method text NOT NULL,
  digest bytea NOT NULL,
  resource_id uuid NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (caller, request_id)
);
CREATE INDEX ON idempotency (resource_id);

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

-- Rows with one case_id are one case: its first report, which has the state, and the notes that came later.
CREATE TABLE fraud_reports (
  report_id uuid PRIMARY KEY,
  case_id uuid NOT NULL REFERENCES fraud_reports,
  reported_at timestamptz NOT NULL DEFAULT now(),
  state text CHECK (state IN ('OPEN')),
  kind text NOT NULL,
  text text NOT NULL CHECK (char_length(text) BETWEEN 1 AND 2000),
  product_id uuid,
  code text NOT NULL CHECK (char_length(code) <= 128),
  caller bytea NOT NULL CHECK (octet_length(caller) = 32),
  photo_sha256 bytea CHECK (octet_length(photo_sha256) = 32),
  photo_media_type text,
  country_code text NOT NULL,
  CHECK ((state IS NOT NULL) = (report_id = case_id)),
  CHECK (product_id IS NULL OR code = ''),
  CHECK ((photo_sha256 IS NULL) = (photo_media_type IS NULL))
);
CREATE INDEX ON fraud_reports (case_id);
CREATE INDEX ON fraud_reports (caller, reported_at);
COMMENT ON COLUMN fraud_reports.product_id IS 'The product of a code that is ours, whose token is never stored.';
COMMENT ON COLUMN fraud_reports.code IS 'What stands where a code of ours should, when it is none.';
COMMENT ON COLUMN fraud_reports.caller IS 'HMAC-SHA256 of the address prefix under the salt of a day, gone with that.';

CREATE TABLE report_contacts (
  report_id uuid PRIMARY KEY REFERENCES fraud_reports,
  contact text NOT NULL CHECK (char_length(contact) BETWEEN 1 AND 200)
);

CREATE TABLE report_salts (
  day date PRIMARY KEY,
  salt bytea NOT NULL CHECK (octet_length(salt) = 32)
);

-- The salts of today and yesterday (UTC), newest first; older ones are destroyed, today's is made of 244 random bits.
CREATE FUNCTION turn_report_salts() RETURNS SETOF bytea
LANGUAGE plpgsql SECURITY DEFINER SET search_path = scan, pg_catalog AS $$
DECLARE
  today date := (now() AT TIME ZONE 'UTC')::date;
BEGIN
  DELETE FROM report_salts WHERE day < today - 1;
  INSERT INTO report_salts VALUES (today, uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()))
    ON CONFLICT DO NOTHING;
  RETURN QUERY SELECT salt FROM report_salts WHERE day <= today ORDER BY day DESC LIMIT 2;
END $$;

-- Erases the contacts given with a case and forgets its requests, whose digests are of bodies with the contact in
-- them. The reports stay. Gives the number of contacts erased.
CREATE FUNCTION erase_report_contacts(erased uuid) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = scan, pg_catalog AS $$
DECLARE
  count integer;
BEGIN
  DELETE FROM report_contacts USING fraud_reports
    WHERE report_contacts.report_id = fraud_reports.report_id AND case_id = erased;
  GET DIAGNOSTICS count = ROW_COUNT;
  DELETE FROM idempotency USING fraud_reports WHERE resource_id = report_id AND case_id = erased;
  INSERT INTO audit VALUES (uuidv7(), now(), 'role', session_user, 'erase_report_contacts', 'fraud_case/' || erased,
    NULL, '', jsonb_build_object('contacts', count));
  RETURN count;
END $$;

REVOKE ALL ON FUNCTION turn_report_salts, erase_report_contacts FROM PUBLIC;
GRANT EXECUTE ON FUNCTION turn_report_salts, erase_report_contacts TO voketag_scan;
GRANT SELECT, INSERT ON idempotency, audit, fraud_reports TO voketag_scan;
GRANT INSERT ON report_contacts TO voketag_scan;
GRANT USAGE ON SCHEMA scan TO voketag_admin;
GRANT SELECT ON audit_rows TO voketag_admin;
