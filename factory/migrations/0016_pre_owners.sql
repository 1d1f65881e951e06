-- Whose a product or batch is, and what became of products: for staff, who rule of them through scan and look at them
-- through admin.

CREATE VIEW batch_owners AS SELECT batch_id, factory_id FROM batches;
COMMENT ON VIEW batch_owners IS 'Every batch and its factory, by batch_id.';
GRANT SELECT ON batch_owners TO voketag_scan, voketag_admin;

CREATE VIEW product_owners AS
SELECT product.product_id, product.batch_id, batch.factory_id, product.kid, product.state
FROM products product JOIN batches batch ON batch.batch_id = product.batch_id;
COMMENT ON VIEW product_owners IS 'Every product, its batch and its factory, by product_id.';
GRANT SELECT ON product_owners TO voketag_admin;

CREATE VIEW product_steps AS
SELECT event.product_id, event.event_id, event.from_state, event.to_state, change.actor, change.note
FROM product_events event
JOIN products product ON product.product_id = event.product_id
JOIN batches batch ON batch.batch_id = product.batch_id
JOIN product_changes change ON change.factory_id = batch.factory_id AND change.change_id = event.change_id;
COMMENT ON VIEW product_steps IS 'Every step in the life of a product, by product_id and event_id (UUIDv7).';
GRANT SELECT ON product_steps TO voketag_admin;
