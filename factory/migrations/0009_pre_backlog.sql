-- What a factory waits for, asked with every order, and so by one plan whatever the planner believes: it guesses that row
-- security leaves next to nothing, and would sort all that is unfinished to find the newest thousand.

CREATE FUNCTION backlog(factory uuid, at_least integer) RETURNS bigint
LANGUAGE sql STABLE SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off
BEGIN ATOMIC
  SELECT coalesce(sum(greatest(product_count, at_least)), 0)
  FROM (
    SELECT product_count FROM batches
    WHERE factory_id = factory AND state IN ('PENDING', 'PROCESSING')
    ORDER BY batch_id DESC
    LIMIT 1000
  ) unfinished;
END;
COMMENT ON FUNCTION backlog IS
  'Products in the newest thousand batches that the factory waits for, a batch counting as so many at least.';
