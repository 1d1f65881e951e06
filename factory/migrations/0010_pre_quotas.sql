-- What a factory may issue a day and import at once, where it differs from the rest; and what it has used.

ALTER TABLE factories
  ADD COLUMN products_a_day bigint CHECK (products_a_day >= 0),
  ADD COLUMN concurrent_imports integer CHECK (concurrent_imports >= 0);
COMMENT ON COLUMN factories.products_a_day IS 'NULL is what the service allows everybody.';
COMMENT ON COLUMN factories.concurrent_imports IS 'NULL is what the service allows everybody.';

CREATE TABLE usage (
  factory_id uuid NOT NULL,
  day date NOT NULL,
  charged bigint NOT NULL CHECK (charged >= 0),
  PRIMARY KEY (factory_id, day)
) WITH (fillfactor = 50);
COMMENT ON TABLE usage IS 'Products by day (UTC): issued, ordered, or held for imports under way.';

ALTER TABLE usage ENABLE ROW LEVEL SECURITY;
CREATE POLICY tenant ON usage USING (is_shown(factory_id));
GRANT SELECT, INSERT, UPDATE ON usage TO voketag_factory;
