-- One salt a day for everything that is named under one, and requests that are forgotten when nobody repeats them.

-- As before to whoever calls it, but of the salts that scans have too. What is hashed differs: no prefix has a newline.
CREATE OR REPLACE FUNCTION turn_report_salts() RETURNS SETOF bytea
LANGUAGE plpgsql SECURITY DEFINER SET search_path = scan, pg_catalog AS $$
DECLARE
  today date := (now() AT TIME ZONE 'UTC')::date;
BEGIN
  DELETE FROM salts WHERE day < today - 1;
  INSERT INTO salts VALUES (today, uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()))
    ON CONFLICT DO NOTHING;
  RETURN QUERY SELECT salt FROM salts WHERE day <= today ORDER BY day DESC LIMIT 2;
END $$;
DROP TABLE report_salts;

CREATE INDEX ON idempotency (created_at);
CREATE FUNCTION forget_requests(most integer) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = scan, pg_catalog AS $$
DECLARE
  forgotten integer;
BEGIN
  DELETE FROM idempotency WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM idempotency WHERE created_at < now() - interval '25 hours' ORDER BY created_at LIMIT most));
  GET DIAGNOSTICS forgotten = ROW_COUNT;
  RETURN forgotten;
END $$;
COMMENT ON FUNCTION forget_requests IS 'Forgets so many requests that are older than 25 hours, the oldest first; how many it forgot.';
REVOKE ALL ON FUNCTION forget_requests FROM PUBLIC;
GRANT EXECUTE ON FUNCTION forget_requests TO voketag_scan;
