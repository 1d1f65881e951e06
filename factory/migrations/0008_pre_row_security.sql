-- The second wall between factories. Every statement names its factory; should one not, its rows are still hidden.
-- Each connection says whose rows it wants: voketag.tenant is a factory's id, or '*' for what goes across factories.

CREATE FUNCTION is_shown(factory_id uuid) RETURNS boolean LANGUAGE sql STABLE PARALLEL SAFE
RETURN current_setting('voketag.tenant', true) IN ('*', factory_id::text);
COMMENT ON FUNCTION is_shown IS 'Whether the connection shows the rows of this factory; without the setting it shows none.';

ALTER TABLE factories ENABLE ROW LEVEL SECURITY;
ALTER TABLE api_keys ENABLE ROW LEVEL SECURITY;
ALTER TABLE batches ENABLE ROW LEVEL SECURITY;
ALTER TABLE product_changes ENABLE ROW LEVEL SECURITY;
CREATE POLICY tenant ON factories USING (is_shown(factory_id));
CREATE POLICY tenant ON api_keys USING (is_shown(factory_id));
CREATE POLICY tenant ON batches USING (is_shown(factory_id));
CREATE POLICY tenant ON product_changes USING (is_shown(factory_id));

-- These know their batch alone. COPY refuses tables with row security, so that products and their events have none:
-- statements reach them through batches or product_changes. A scalar subquery is looked up by its index row by row, where
-- EXISTS may become a hash of all batches.
ALTER TABLE chunks ENABLE ROW LEVEL SECURITY;
ALTER TABLE tiles ENABLE ROW LEVEL SECURITY;
CREATE POLICY tenant ON chunks USING ((SELECT true FROM batches batch WHERE batch.batch_id = chunks.batch_id));
CREATE POLICY tenant ON tiles USING ((SELECT true FROM batches batch WHERE batch.batch_id = tiles.batch_id));

-- Nobody but admin reads what was done, by the view.
REVOKE SELECT ON audit FROM voketag_factory;
