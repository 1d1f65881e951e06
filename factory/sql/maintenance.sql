-- name: select_unbuilt(older_than, page_size)
-- Batches to be built that no job has; the youngest are left out, since nothing that young is worth a look.
SELECT * FROM batches batch
WHERE state IN ('PENDING', 'PROCESSING') AND updated_at < now() - :older_than::interval
  AND NOT EXISTS (
    SELECT FROM pgqueuer job
    WHERE job.payload = uuid_send(batch.factory_id) || uuid_send(batch.batch_id)
      AND job.entrypoint = 'batch.build' AND job.status IN ('queued', 'picked'))
LIMIT :page_size;

-- name: select_unanchored(older_than, page_size)
-- Batches whose roots should be final by now, and that no job has: those that wait longest.
SELECT * FROM batches batch
WHERE state = 'ANCHORING' AND updated_at < now() - :older_than::interval
  AND NOT EXISTS (
    SELECT FROM pgqueuer job
    WHERE job.payload = uuid_send(batch.factory_id) || uuid_send(batch.batch_id)
      AND job.entrypoint = 'batch.submit' AND job.status IN ('queued', 'picked'))
ORDER BY updated_at
LIMIT :page_size;
