-- name: select_product(factory_id, product_id)^
-- Through the batch, as that knows the factory: another's product is as unknown as none.
SELECT product.product_id, product.batch_id, product.index, product.kid, product.state, product.attributes, batch.template
FROM products product
JOIN batches batch ON batch.factory_id = :factory_id AND batch.batch_id = product.batch_id
WHERE product.product_id = :product_id;

-- name: select_products(first_index, after, factory_id, batch_id, page_size)
-- By index from :first_index on: chunk by chunk, and in each by its range of ids, which are in the order of indexes.
-- Within a chunk the range begins at :after, the id of the product before, so that a page reads no more than itself.
SELECT product.product_id, product.index, product.kid, product.state, product.attributes
FROM (
  SELECT
    first_index, last_product_id,
    CASE WHEN first_index < :first_index THEN coalesce(:after::uuid, first_product_id) ELSE first_product_id END AS low
  FROM chunks
  JOIN batches USING (batch_id)
  WHERE factory_id = :factory_id AND batch_id = :batch_id AND issued > 0
    AND first_index > :first_index - 10000 AND first_index + issued > :first_index
    AND first_index < :first_index + :page_size
) chunk
CROSS JOIN LATERAL (
  SELECT product_id, index, kid, state, attributes
  FROM products
  WHERE product_id BETWEEN chunk.low AND chunk.last_product_id
    AND batch_id = :batch_id AND index >= :first_index
  ORDER BY product_id
  LIMIT :page_size
) product
ORDER BY product.index
LIMIT :page_size;
