-- name: top_floors(list_ids)
-- What a product must have been scanned more often than to come onto a list; floors never fall.
SELECT factory_id AS list_id, scans FROM top_floors WHERE factory_id = ANY(:list_ids::uuid[]);

-- name: raise_top(list_ids, product_ids, owner_ids, counts, times)
-- In the transaction of the events. What comes onto a list has passed its floor, and counts never fall. The lists that grew
-- are given back.
INSERT INTO top_products (factory_id, product_id, owner_id, scans, scanned_at)
SELECT list_id, product_id, owner_id, count, at
FROM unnest(:list_ids::uuid[], :product_ids::uuid[], :owner_ids::uuid[], :counts::bigint[], :times::timestamptz[])
  AS found (list_id, product_id, owner_id, count, at)
ORDER BY list_id, product_id
ON CONFLICT (factory_id, product_id) DO UPDATE
  SET scans = greatest(top_products.scans, excluded.scans), scanned_at = greatest(top_products.scanned_at, excluded.scanned_at)
RETURNING factory_id, old.factory_id IS NULL AS is_new;

-- name: trim_top(list_ids, kept, most)!
-- Lists that grew past their room keep what was scanned most, and get a new floor.
WITH ranked AS (
  SELECT factory_id, product_id, scans,
    row_number() OVER (PARTITION BY factory_id ORDER BY scans DESC, product_id) AS place,
    count(*) OVER (PARTITION BY factory_id) AS size
  FROM top_products WHERE factory_id = ANY(:list_ids::uuid[])
), floors AS (
  INSERT INTO top_floors (factory_id, scans)
  SELECT factory_id, scans FROM ranked WHERE place = :kept AND size > :most
  ON CONFLICT (factory_id) DO UPDATE SET scans = excluded.scans
)
DELETE FROM top_products USING ranked
WHERE top_products.factory_id = ranked.factory_id AND top_products.product_id = ranked.product_id
  AND ranked.place > :kept AND ranked.size > :most;

-- name: top_products(factory_id, count)
-- A whole list is one or two pages: it is sorted when it is read.
SELECT product_id, owner_id, scans, scanned_at FROM top_products
WHERE factory_id = :factory_id ORDER BY scans DESC, product_id LIMIT :count;
