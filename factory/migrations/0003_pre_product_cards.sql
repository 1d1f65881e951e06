-- What a scan needs to know of a product; the only thing here that another service reads.

CREATE VIEW product_cards AS
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
  proof.hashes AS tile_hashes
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

COMMENT ON VIEW product_cards IS
  'One row a product, by product_id. attributes: canonical JSON, the leaf commits to its SHA-256. batch_root, tree_size: '
  'NULL until the tree stands. tile_levels, tile_indexes, tile_hashes: equally long arrays, the tiles on the product''s '
  'path and at the right edge of the tree, all that trust.tiles.inclusion_path_from_tiles(product_index, tree_size) reads; '
  'NULL until the tree stands, and worked out only when selected.';

GRANT SELECT ON product_cards TO voketag_scan;
