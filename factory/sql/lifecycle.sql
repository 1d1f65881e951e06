-- name: insert_change(factory_id, change_id, batch_id, to_state, actor, note, end_index)^
-- Before any of its products changes, so that whoever asks again finds how far it came.
INSERT INTO product_changes (factory_id, change_id, batch_id, to_state, actor, note, end_index)
VALUES (:factory_id, :change_id, :batch_id, :to_state, :actor, :note, :end_index)
RETURNING next_index, end_index, changed, unchanged, refused;

-- name: lock_change(factory_id, change_id)^
-- One call at a time carries a change on; a second one takes the next stretch.
SELECT next_index, end_index, changed, unchanged, refused FROM product_changes
WHERE factory_id = :factory_id AND change_id = :change_id
FOR UPDATE;

-- name: hold_listed(to_state, factory_id, product_ids)^
-- Always in the order of ids, so that changes which overlap wait for each other and never in a circle.
SELECT count(*)::integer AS held,
       coalesce(array_agg(product_id) FILTER (WHERE state <> :to_state), '{}') AS others,
       array_agg(DISTINCT batch_id) AS batch_ids
FROM (
  SELECT product.product_id, product.batch_id, product.state
  FROM products product
  JOIN batches batch ON batch.factory_id = :factory_id AND batch.batch_id = product.batch_id
  WHERE product.product_id = ANY(:product_ids::uuid[])
  ORDER BY product.product_id
  FOR UPDATE OF product
) product;

-- name: hold_stretch(to_state, factory_id, batch_id, first_index, end_index, first_serial, last_serial)^
-- Chunk by chunk, each by its range of ids, as no index knows the batch. Serial numbers are read out of the attributes
-- that count: the product's own, which have the template's in them, or the template.
SELECT count(*)::integer AS held,
       coalesce(array_agg(product_id) FILTER (WHERE state <> :to_state), '{}') AS others
FROM (
  SELECT product.product_id, product.state
  FROM chunks chunk
  JOIN products product ON product.product_id BETWEEN chunk.first_product_id AND chunk.last_product_id
  JOIN batches batch ON batch.factory_id = :factory_id AND batch.batch_id = product.batch_id
  WHERE chunk.batch_id = :batch_id AND chunk.issued > 0
    AND chunk.first_index > :first_index - 10000 AND chunk.first_index + chunk.issued > :first_index
    AND chunk.first_index < :end_index
    AND product.batch_id = :batch_id AND product.index >= :first_index AND product.index < :end_index
    AND (:first_serial::text IS NULL
      OR convert_from(coalesce(product.attributes, batch.template), 'UTF8')::jsonb ->> 'serial' COLLATE "C"
        BETWEEN :first_serial::text AND :last_serial::text)
  ORDER BY product.product_id
  FOR UPDATE OF product
) product;

-- name: move(factory_id, batch_ids, product_ids, to_state, change_id, listed)^
-- Held products whose state allows the step, and their events; which they were, where the products were listed. They are
-- the factory's by their batches, which are looked up once and not for each product.
WITH moved AS (
  UPDATE products product SET state = step.to_state
  FROM product_transitions step
  WHERE product.product_id = ANY(:product_ids::uuid[])
    AND product.batch_id = ANY(ARRAY(
      SELECT batch_id FROM batches WHERE factory_id = :factory_id AND batch_id = ANY(:batch_ids::uuid[])))
    AND step.from_state = product.state AND step.to_state = :to_state
  RETURNING product.product_id, step.from_state, step.to_state
), noted AS (
  INSERT INTO product_events (product_id, event_id, change_id, from_state, to_state)
  SELECT product_id, uuidv7(), :change_id, from_state, to_state FROM moved
)
SELECT count(*)::integer AS changed, array_agg(product_id) FILTER (WHERE :listed) AS product_ids FROM moved;

-- name: advance_change(end_index, changed, unchanged, refused, factory_id, change_id)^
-- In the transaction that changed them.
UPDATE product_changes
SET next_index = :end_index, changed = changed + :changed, unchanged = unchanged + :unchanged,
    refused = refused + :refused
WHERE factory_id = :factory_id AND change_id = :change_id
RETURNING next_index, end_index, changed, unchanged, refused;

-- name: announce_cards(ids)!
-- Scans forget the cards of these products or batches when this transaction commits.
SELECT pg_notify('factory_cards', id::text) FROM unnest(:ids::uuid[]) AS id;

-- name: select_events(factory_id, product_id, before, page_size)
-- Newest first, as ids are UUIDv7 made under the product's lock; the keyset is the last id of the page before.
SELECT event.event_id, event.from_state, event.to_state, change.actor, change.note,
       uuid_extract_timestamp(event.event_id) AS happened_at
FROM product_events event
JOIN product_changes change ON change.factory_id = :factory_id AND change.change_id = event.change_id
WHERE event.product_id = :product_id AND (:before::uuid IS NULL OR event.event_id < :before::uuid)
ORDER BY event.event_id DESC
LIMIT :page_size;
