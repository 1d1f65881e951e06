-- What admin counts: batches as they change, the names of factories, and what the queue has to do.

ALTER TABLE batches ADD COLUMN changed_in xid8;
COMMENT ON COLUMN batches.changed_in IS
  'The transaction that changed state or issued_count last; NULL before there was this column. Whether a look came '
  'before or after it is told by the snapshot of the look, which clocks cannot tell.';
CREATE INDEX batches_changed ON batches (changed_in);

CREATE FUNCTION note_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  NEW.changed_in := pg_current_xact_id();
  RETURN NEW;
END $$;
CREATE TRIGGER note_change BEFORE INSERT OR UPDATE OF state, issued_count ON batches
  FOR EACH ROW EXECUTE FUNCTION note_change();

CREATE VIEW counted_batches AS
  SELECT batch_id, factory_id, state, issued_count, created_at, changed_in FROM batches;
COMMENT ON VIEW counted_batches IS 'Batches by the transaction that changed them last.';

CREATE VIEW factory_names AS SELECT factory_id, name FROM factories;
COMMENT ON VIEW factory_names IS 'Which factories there are.';

-- The queue's tables are made after the migrations, so its name is looked up when this is called.
CREATE FUNCTION queue_health()
RETURNS TABLE (job text, waiting bigint, running bigint, held bigint, oldest_at timestamptz)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = factory, pg_catalog AS $$
BEGIN
  RETURN QUERY
  SELECT queue.entrypoint,
    count(*) FILTER (WHERE queue.status = 'queued' AND queue.execute_after <= now()),
    count(*) FILTER (WHERE queue.status = 'picked'),
    count(*) FILTER (WHERE queue.status = 'failed'),
    min(queue.execute_after) FILTER (WHERE queue.status = 'queued' AND queue.execute_after <= now())
  FROM factory.pgqueuer queue
  GROUP BY queue.entrypoint;
END $$;
COMMENT ON FUNCTION queue_health IS
  'Jobs by kind: due and waiting, with workers, given up; and since when the first of those that wait is due.';

GRANT SELECT ON counted_batches, factory_names TO voketag_admin;
REVOKE EXECUTE ON FUNCTION queue_health FROM PUBLIC;
GRANT EXECUTE ON FUNCTION queue_health TO voketag_admin;
