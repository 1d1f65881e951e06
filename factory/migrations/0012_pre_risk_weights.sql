-- How scans of a factory's products are weighed, where that differs from the rest. Scan reads it with the product's card.
ALTER TABLE factories ADD COLUMN risk_weights jsonb CHECK (jsonb_typeof(risk_weights) = 'object');
COMMENT ON COLUMN factories.risk_weights IS
  'NULL is what everybody has; else all weights, limits and their version, which never comes twice: docs/risk.md.';

CREATE OR REPLACE VIEW product_cards AS
SELECT
  product.product_id,
  product.batch_id,
  product.index AS product_index,
  product.kid,
  product.state AS product_state,
  batch.state AS batch_state,
  coalesce(product.attributes, batch.template) AS attributes,
  batch.factory_id,
  factory.name AS factory_name,
  batch.root AS batch_root,
  CASE WHEN batch.root IS NULL THEN NULL ELSE batch.product_count END AS tree_size,
  proof.levels AS tile_levels,
  proof.indexes AS tile_indexes,
  proof.hashes AS tile_hashes,
  factory.risk_weights
FROM products product
JOIN batches batch ON batch.batch_id = product.batch_id
JOIN factories factory ON factory.factory_id = batch.factory_id
LEFT JOIN LATERAL (
  SELECT
    array_agg(tile.level::integer) AS levels, array_agg(tile.index) AS indexes, array_agg(tile.hashes) AS hashes
  FROM tiles tile
  WHERE tile.batch_id = product.batch_id
    AND batch.root IS NOT NULL
    AND (tile.level, tile.index) IN (
      (0, product.index >> 8), (1, product.index >> 16), (2, product.index >> 24),
      (0, batch.product_count >> 8), (1, batch.product_count >> 16), (2, batch.product_count >> 24))
) proof ON true;

-- Tells whoever remembers product cards that those of a factory are weighed otherwise: channel factory_weights.
CREATE FUNCTION tell_weights_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  PERFORM pg_notify('factory_weights', NEW.factory_id::text);
  RETURN NULL;
END $$;

CREATE TRIGGER weights_change AFTER UPDATE OF risk_weights ON factories
  FOR EACH ROW WHEN (NEW.risk_weights IS DISTINCT FROM OLD.risk_weights) EXECUTE FUNCTION tell_weights_change();
