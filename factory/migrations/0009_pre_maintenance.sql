-- What the maintenance jobs stand on: old requests found by age, and the planner's statistics refreshed as the owner.

CREATE INDEX idempotency_by_age ON idempotency (created_at);

CREATE FUNCTION refresh_statistics() RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = factory, pg_catalog AS $$
DECLARE
  parent text;
BEGIN
  IF NOT pg_try_advisory_xact_lock(hashtext('factory.refresh_statistics')) THEN
    RETURN false;
  END IF;
  ANALYZE batches, chunks, idempotency, pgqueuer;
  -- Autovacuum never looks at the whole of a partitioned table, and late at a month that has just begun.
  FOREACH parent IN ARRAY ARRAY['products', 'product_events'] LOOP
    EXECUTE format('ANALYZE factory.%I', parent || '_' || to_char(now() AT TIME ZONE 'UTC', 'YYYY_MM'));
    EXECUTE format('ANALYZE ONLY factory.%I', parent);
  END LOOP;
  RETURN true;
END $$;
COMMENT ON FUNCTION refresh_statistics IS
  'Refreshes the planner''s statistics of what grows by the minute; false while another does so.';

REVOKE EXECUTE ON FUNCTION refresh_statistics FROM PUBLIC;
GRANT EXECUTE ON FUNCTION refresh_statistics TO voketag_factory;
