-- What is read together is one row: a span's countries with its scans, a day's products of a factory, a day's factories in
-- a table as narrow as they are many. Ninety days are some hundred pages then, where they were thousands.
DROP TABLE country_rollups, product_rollups;
ALTER TABLE scan_rollups ADD COLUMN countries jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(countries) = 'object');
COMMENT ON COLUMN scan_rollups.countries IS 'Scans by country (ISO 3166-1 alpha-2), empty where it is not known.';

CREATE TABLE product_lists (
  factory_id uuid NOT NULL,
  day date NOT NULL,
  listed bytea NOT NULL CHECK (octet_length(listed) % 24 = 0),
  complete boolean NOT NULL,
  PRIMARY KEY (factory_id, day)
) WITH (fillfactor = 50);
ALTER TABLE product_lists ALTER listed SET STORAGE EXTERNAL;  -- ids do not compress
COMMENT ON COLUMN product_lists.listed IS
  'The products with most scans of the day, of those with equally many the smaller ids: 16 bytes of id and 8 of scans each, '
  'most scans first.';
COMMENT ON COLUMN product_lists.complete IS 'Whether it has every product that was scanned.';

CREATE TABLE factory_rollups (
  day date NOT NULL,
  factory_id uuid NOT NULL,
  scans bigint NOT NULL,
  suspected bigint NOT NULL,
  PRIMARY KEY (day, factory_id)
) WITH (fillfactor = 50);
COMMENT ON COLUMN factory_rollups.suspected IS 'Scans that were suspicious or of likely copies.';

GRANT SELECT, INSERT, UPDATE ON product_lists, factory_rollups TO voketag_admin;

-- Scans are counted anew from the beginning.
TRUNCATE scan_rollups, product_counts, scanned_products;
UPDATE rollups SET position = 0, counted_since = '-infinity', as_of = NULL WHERE source = 'scans';
