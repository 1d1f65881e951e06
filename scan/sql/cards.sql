-- name: cards_by_product(product_ids)
-- The products of one event-loop turn in one round trip, with what staff ruled of each, its batch and its key; without the
-- tile columns, which only receipts need. Nearly no product has a ruling: three looks into a small index find none.
SELECT product_id, batch_id, product_index, kid, product_state, batch_state, attributes, factory_id, factory_name, risk_weights,
  ruling.blocked, ruling.revoked, ruling.cleared_at
FROM factory.product_cards card
CROSS JOIN LATERAL (
  SELECT bool_or(kind = 'BLOCK') AS blocked, bool_or(kind = 'REVOKE') AS revoked,
    max(ruled_at) FILTER (WHERE kind = 'CLEAR') AS cleared_at
  FROM rulings
  WHERE subject = ANY (ARRAY['product/' || card.product_id, 'batch/' || card.batch_id, 'key/' || card.kid])
    AND NOT lifts AND ended_by IS NULL
) ruling
WHERE product_id = ANY(:product_ids::uuid[]);

-- name: tree_by_product(product_id)^
-- The part of a batch's tree that holds the path of one product; the root is null until the tree is built.
SELECT batch_root, tree_size, tile_levels, tile_indexes, tile_hashes
FROM factory.product_cards
WHERE product_id = :product_id;
