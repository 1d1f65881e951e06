-- name: insert_batch(factory_id, batch_id, name, state, template, kid, product_count)^
-- The trigger allows RECEIVING and PENDING alone.
INSERT INTO batches (factory_id, batch_id, name, state, template, kid, product_count)
VALUES (:factory_id, :batch_id, :name, :state, :template, :kid, :product_count)
RETURNING *;

-- name: select_batch(factory_id, batch_id)^
-- Another factory's batch is as unknown as none.
SELECT * FROM batches WHERE factory_id = :factory_id AND batch_id = :batch_id;

-- name: lock_batch(factory_id, batch_id)^
-- Holds off every other change until this transaction ends.
SELECT * FROM batches WHERE factory_id = :factory_id AND batch_id = :batch_id FOR UPDATE;

-- name: select_batches(factory_id, before, state, page_size)
-- Newest first, as ids are UUIDv7; the keyset is the last id of the page before.
SELECT * FROM batches
WHERE factory_id = :factory_id
  AND (:before::uuid IS NULL OR batch_id < :before::uuid)
  AND (:state::text IS NULL OR state = :state::text)
ORDER BY batch_id DESC
LIMIT :page_size;

-- name: take_writer(factory_id, batch_id)^
-- Waits for a chunk under way, then fences its writer off: what is read here is what the next chunk follows.
UPDATE batches SET writer = writer + 1 WHERE factory_id = :factory_id AND batch_id = :batch_id RETURNING *;

-- name: advance(issued, refused, row_count, factory_id, batch_id, writer, state, first_row, first_index)$
-- Locks the batch for a chunk; no row when its writer was fenced off or the batch left the state.
UPDATE batches
SET issued_count = issued_count + :issued, refused_count = refused_count + :refused, next_row = next_row + :row_count
WHERE factory_id = :factory_id AND batch_id = :batch_id
  AND writer = :writer AND state = :state AND next_row = :first_row AND issued_count = :first_index
RETURNING true;

-- name: order_import(factory_id, batch_id)^
-- The rows are in: what was issued is what is ordered.
UPDATE batches SET state = 'PENDING', product_count = issued_count
WHERE factory_id = :factory_id AND batch_id = :batch_id
RETURNING *;

-- name: set_state(state, failure, factory_id, batch_id)^
-- The trigger refuses what is not a legal transition.
UPDATE batches SET state = :state, failure = :failure
WHERE factory_id = :factory_id AND batch_id = :batch_id
RETURNING *;

-- name: set_root(root, factory_id, batch_id)^
-- The tree stands.
UPDATE batches SET state = 'ANCHORING', root = :root
WHERE factory_id = :factory_id AND batch_id = :batch_id
RETURNING *;

-- name: complete(batch_ids, roots, chain_ids, contracts, transactions, block_numbers)
-- By id alone, since the anchor service knows no factories. A batch that is COMPLETED already stays as it is.
UPDATE batches batch
SET state = 'COMPLETED', chain_id = final.chain_id, contract = final.contract,
    transaction = final.transaction, block_number = final.block_number
FROM unnest(:batch_ids::uuid[], :roots::bytea[], :chain_ids::bigint[], :contracts::text[],
            :transactions::text[], :block_numbers::bigint[])
  AS final (batch_id, root, chain_id, contract, transaction, block_number)
WHERE batch.batch_id = final.batch_id AND batch.root = final.root AND batch.state = 'ANCHORING'
RETURNING batch.*;

-- name: lock_position()$
-- One follower at a time moves the cursor.
SELECT position FROM finality FOR UPDATE;

-- name: select_position()$
-- Where the follower goes on.
SELECT position FROM finality;

-- name: set_position(position)!
-- In the transaction that completes the batches up to it.
UPDATE finality SET position = :position;

-- name: select_backlog(factory_id, at_least)^
-- Products that the factory waits for, this order among them; and the steps up the line that operators gave it.
SELECT backlog(:factory_id, :at_least) AS products, priority AS steps FROM factories WHERE factory_id = :factory_id;
