-- name: cards_by_product(product_ids)
-- The products of one event-loop turn in one round trip; without the tile columns, which only receipts need.
SELECT product_id, batch_id, product_index, kid, product_state, batch_state, attributes, factory_id, factory_name, risk_weights
FROM factory.product_cards
WHERE product_id = ANY(:product_ids::uuid[]);

-- name: tree_by_product(product_id)^
-- The part of a batch's tree that holds the path of one product; the root is null until the tree is built.
SELECT batch_root, tree_size, tile_levels, tile_indexes, tile_hashes
FROM factory.product_cards
WHERE product_id = :product_id;
