-- What exports and the weekly reports read of products, batches and factories.

CREATE VIEW exported_products AS
SELECT
  product.product_id,
  product.batch_id,
  product.index,
  (ARRAY['CREATED', 'ACTIVATED', 'SHIPPED', 'SOLD', 'CONSUMED', 'RECALLED', 'STOLEN', 'EXPIRED', 'DESTROYED'])
    [product.state + 1] AS state,
  convert_from(coalesce(product.attributes, batch.template), 'UTF8') AS attributes,
  batch.name AS batch_name,
  batch.factory_id,
  factory.name AS factory_name
FROM products product
JOIN batches batch ON batch.batch_id = product.batch_id
JOIN factories factory ON factory.factory_id = batch.factory_id;
COMMENT ON VIEW exported_products IS 'One row a product; attributes: canonical JSON. The token is not here: it follows from a key.';

CREATE VIEW exported_batches AS
SELECT batch_id, factory_id, name, state, product_count, issued_count, created_at FROM batches;

CREATE VIEW exported_factories AS
SELECT factory_id, name, created_at FROM factories;

GRANT SELECT ON exported_products, exported_batches, exported_factories TO voketag_admin;
