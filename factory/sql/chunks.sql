-- name: insert_chunk(batch_id, levels, indexes, hashes, first_row, row_count, first_index, issued, first_product_id, last_product_id, digest, errors)!
-- The chunk and its tiles in one round trip; tiles at the right edge of the tree grow in place.
WITH grown AS (
  INSERT INTO tiles (batch_id, level, index, hashes)
  SELECT :batch_id, tile.level, tile.index, tile.hashes
  FROM unnest(:levels::smallint[], :indexes::integer[], :hashes::bytea[]) AS tile (level, index, hashes)
  ON CONFLICT (batch_id, level, index) DO UPDATE SET hashes = excluded.hashes
)
INSERT INTO chunks
  (batch_id, first_row, row_count, first_index, issued, first_product_id, last_product_id, digest, errors)
VALUES
  (:batch_id, :first_row, :row_count, :first_index, :issued, :first_product_id, :last_product_id, :digest, :errors);

-- name: select_chunk(batch_id, first_row)^
-- A repeat is told from a conflict by its digest.
SELECT row_count, first_index, issued, digest, errors FROM chunks WHERE batch_id = :batch_id AND first_row = :first_row;

-- name: select_edge(batch_id, size)
-- The partial tiles of a tree of this size, from which it can grow on.
SELECT level, index, hashes FROM tiles
WHERE batch_id = :batch_id
  AND (level, index) IN ((0, :size::integer >> 8), (1, :size::integer >> 16), (2, :size::integer >> 24));

-- name: ensure_partitions(months_ahead)$
-- Runs as the owner: this role makes no tables.
SELECT ensure_partitions(:months_ahead);
