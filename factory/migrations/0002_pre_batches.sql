-- Batches with their legal transitions, the chunks they were issued in, their trees, and the products.

CREATE TABLE batches (
  factory_id uuid NOT NULL,
  batch_id uuid NOT NULL,
  name text NOT NULL,
  state text NOT NULL,
  template bytea NOT NULL,
  kid smallint NOT NULL,
  product_count integer NOT NULL DEFAULT 0,
  issued_count integer NOT NULL DEFAULT 0,
  refused_count integer NOT NULL DEFAULT 0,
  next_row integer NOT NULL DEFAULT 0,
  writer integer NOT NULL DEFAULT 0,
  root bytea CHECK (octet_length(root) = 32),
  chain_id bigint,
  contract text,
  transaction text,
  block_number bigint,
  failure text NOT NULL DEFAULT '',
  created_at timestamptz NOT NULL DEFAULT now(),
  updated_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (factory_id, batch_id),
  CHECK (issued_count BETWEEN 0 AND 1000000),
  CHECK (issued_count <= product_count OR state IN ('RECEIVING', 'CANCELLED')),
  CHECK ((state IN ('ANCHORING', 'COMPLETED')) <= (root IS NOT NULL)),
  CHECK ((state = 'COMPLETED') = (chain_id IS NOT NULL))
) WITH (fillfactor = 50);
COMMENT ON COLUMN batches.template IS 'Canonical JSON of the attributes of every product that has none of its own.';
COMMENT ON COLUMN batches.kid IS 'Key that the worker issues under.';
COMMENT ON COLUMN batches.writer IS 'Fence: whoever issues here takes the next number, and the one before can commit no more.';

-- The view for scans joins by batch alone.
CREATE UNIQUE INDEX batches_by_id ON batches (batch_id);

CREATE TABLE batch_transitions (
  from_state text NOT NULL,
  to_state text NOT NULL,
  PRIMARY KEY (from_state, to_state)
);
COMMENT ON TABLE batch_transitions IS 'Every legal change of state; '''' is before the batch.';

INSERT INTO batch_transitions VALUES
  ('', 'RECEIVING'), ('', 'PENDING'),
  ('RECEIVING', 'PENDING'), ('RECEIVING', 'CANCELLED'),
  ('PENDING', 'PROCESSING'), ('PENDING', 'CANCELLED'), ('PENDING', 'FAILED'),
  ('PROCESSING', 'ANCHORING'), ('PROCESSING', 'PENDING'), ('PROCESSING', 'CANCELLED'), ('PROCESSING', 'FAILED'),
  ('ANCHORING', 'COMPLETED'), ('ANCHORING', 'FAILED'),
  ('FAILED', 'PENDING');

CREATE FUNCTION enforce_transition() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  before text := CASE TG_OP WHEN 'INSERT' THEN '' ELSE OLD.state END;
BEGIN
  IF NOT EXISTS (SELECT FROM factory.batch_transitions WHERE from_state = before AND to_state = NEW.state) THEN
    RAISE EXCEPTION 'a batch does not go from % to %', before, NEW.state
      USING ERRCODE = 'check_violation', CONSTRAINT = 'batch_transition', DETAIL = before;
  END IF;
  NEW.updated_at := now();
  RETURN NEW;
END $$;

CREATE TRIGGER enforce_transition BEFORE INSERT OR UPDATE OF state ON batches
  FOR EACH ROW EXECUTE FUNCTION enforce_transition();

CREATE TABLE chunks (
  batch_id uuid NOT NULL,
  first_row integer NOT NULL,
  row_count integer NOT NULL,
  first_index integer NOT NULL,
  issued integer NOT NULL,
  first_product_id uuid,
  last_product_id uuid,
  digest bytea NOT NULL,
  errors bytea,
  PRIMARY KEY (batch_id, first_row),
  CHECK ((issued > 0) = (first_product_id IS NOT NULL AND last_product_id IS NOT NULL))
);
COMMENT ON TABLE chunks IS
  'What was committed together: its id range finds its products by their primary key, in the order of their index.';
COMMENT ON COLUMN chunks.digest IS 'SHA-256 of the rows as they came, to tell a repeat from a conflict.';

-- Lists go by index.
CREATE INDEX chunks_by_index ON chunks (batch_id, first_index);

CREATE TABLE tiles (
  batch_id uuid NOT NULL,
  level smallint NOT NULL,
  index integer NOT NULL,
  hashes bytea NOT NULL,
  PRIMARY KEY (batch_id, level, index)
);
-- Hashes do not compress.
ALTER TABLE tiles ALTER COLUMN hashes SET STORAGE EXTERNAL;
COMMENT ON TABLE tiles IS 'The RFC 9162 trees of batches, in tiles of 256 hashes (C2SP tlog-tiles geometry).';

CREATE TABLE products (
  product_id uuid NOT NULL,
  batch_id uuid NOT NULL,
  index integer NOT NULL,
  kid smallint NOT NULL,
  state smallint NOT NULL,
  attributes bytea,
  PRIMARY KEY (product_id)
) PARTITION BY RANGE (product_id);
COMMENT ON COLUMN products.attributes IS 'Canonical JSON; NULL is the template of the batch.';
COMMENT ON COLUMN products.state IS '0 is CREATED.';

CREATE FUNCTION first_id_of(at timestamp) RETURNS uuid LANGUAGE sql IMMUTABLE AS $$
  SELECT rpad(lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0'), 32, '0')::uuid
$$;
COMMENT ON FUNCTION first_id_of IS 'No UUIDv7 made at or after this time (UTC) is smaller.';

CREATE FUNCTION ensure_partitions(months_ahead integer) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = factory, pg_catalog AS $$
DECLARE
  this_month timestamp := date_trunc('month', now() AT TIME ZONE 'UTC');
  month timestamp;
  partition text;
  made integer := 0;
BEGIN
  PERFORM pg_advisory_xact_lock(hashtext('factory.products'));
  -- Last month too: another machine's clock may still be in it.
  FOR ahead IN -1 .. least(months_ahead, 24) LOOP
    month := this_month + ahead * interval '1 month';
    partition := 'products_' || to_char(month, 'YYYY_MM');
    IF to_regclass(format('factory.%I', partition)) IS NULL THEN
      EXECUTE format(
        'CREATE TABLE factory.%I PARTITION OF factory.products FOR VALUES FROM (%L) TO (%L)',
        partition, factory.first_id_of(month), factory.first_id_of(month + interval '1 month'));
      made := made + 1;
    END IF;
  END LOOP;
  RETURN made;
END $$;
COMMENT ON FUNCTION ensure_partitions IS 'Makes the months of products that are missing, up to so many ahead; how many it made.';

SELECT ensure_partitions(3);

CREATE TABLE finality (
  singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
  position bigint NOT NULL
);
COMMENT ON TABLE finality IS 'Position of the last final anchor whose batch is COMPLETED here.';
INSERT INTO finality (position) VALUES (0);

GRANT SELECT, INSERT, UPDATE ON batches, tiles TO voketag_factory;
GRANT SELECT ON batch_transitions TO voketag_factory;
GRANT SELECT, INSERT ON chunks, products TO voketag_factory;
GRANT SELECT, UPDATE ON finality TO voketag_factory;
REVOKE EXECUTE ON FUNCTION ensure_partitions FROM PUBLIC;
GRANT EXECUTE ON FUNCTION ensure_partitions TO voketag_factory;
