-- The life of products after they were issued: which steps are legal, the changes that were asked for, and the events.

COMMENT ON COLUMN products.state IS
  '0 CREATED, 1 ACTIVATED, 2 SHIPPED, 3 SOLD, 4 CONSUMED, 5 RECALLED, 6 STOLEN, 7 EXPIRED, 8 DESTROYED.';

CREATE TABLE product_transitions (
  from_state smallint NOT NULL,
  to_state smallint NOT NULL,
  PRIMARY KEY (from_state, to_state)
);
COMMENT ON TABLE product_transitions IS 'Every legal step of a product, by the numbers of products.state.';

-- Forward steps may skip. RECALLED and STOLEN may be cleared; CONSUMED, EXPIRED and DESTROYED are ends.
INSERT INTO product_transitions
SELECT step.from_state, unnest(step.to_states) FROM (VALUES
  (0, ARRAY[1, 2, 3, 4, 5, 6, 7, 8]),
  (1, ARRAY[2, 3, 4, 5, 6, 7, 8]),
  (2, ARRAY[3, 4, 5, 6, 7, 8]),
  (3, ARRAY[4, 5, 6, 7, 8]),
  (5, ARRAY[1, 2, 3, 6, 7, 8]),
  (6, ARRAY[1, 2, 3, 5, 7, 8])
) AS step (from_state, to_states);

CREATE TABLE product_changes (
  factory_id uuid NOT NULL,
  change_id uuid NOT NULL,
  batch_id uuid,
  to_state smallint NOT NULL,
  actor text NOT NULL,
  note text NOT NULL,
  next_index integer NOT NULL DEFAULT 0,
  end_index integer NOT NULL,
  changed integer NOT NULL DEFAULT 0,
  unchanged integer NOT NULL DEFAULT 0,
  refused integer NOT NULL DEFAULT 0,
  PRIMARY KEY (factory_id, change_id),
  CHECK (next_index BETWEEN 0 AND end_index)
);
COMMENT ON TABLE product_changes IS 'One row a ChangeProducts; it is complete when next_index is end_index.';
COMMENT ON COLUMN product_changes.batch_id IS 'NULL when the products were listed.';
COMMENT ON COLUMN product_changes.next_index IS 'Products of the batch below this index are done; of a list, all or none.';

CREATE TABLE product_events (
  product_id uuid NOT NULL,
  event_id uuid NOT NULL,
  change_id uuid NOT NULL,
  from_state smallint NOT NULL,
  to_state smallint NOT NULL,
  PRIMARY KEY (product_id, event_id)
) PARTITION BY RANGE (product_id);
COMMENT ON TABLE product_events IS 'One row a step of a product; event_id is a UUIDv7 and holds the time.';

-- Events lie in the month of their product, beside it.
DO $$
DECLARE
  month record;
BEGIN
  FOR month IN
    SELECT replace(class.relname, 'products_', 'product_events_') AS name,
           pg_get_expr(class.relpartbound, class.oid) AS bound
    FROM pg_inherits JOIN pg_class class ON class.oid = inhrelid
    WHERE inhparent = 'factory.products'::regclass
  LOOP
    EXECUTE format('CREATE TABLE factory.%I PARTITION OF factory.product_events %s', month.name, month.bound);
  END LOOP;
END $$;

CREATE OR REPLACE FUNCTION ensure_partitions(months_ahead integer) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = factory, pg_catalog AS $$
DECLARE
  this_month timestamp := date_trunc('month', now() AT TIME ZONE 'UTC');
  month timestamp;
  parent text;
  made integer := 0;
BEGIN
  PERFORM pg_advisory_xact_lock(hashtext('factory.products'));
  -- Last month too: another machine's clock may still be in it.
  FOR ahead IN -1 .. least(months_ahead, 24) LOOP
    month := this_month + ahead * interval '1 month';
    IF to_regclass(format('factory.%I', 'products_' || to_char(month, 'YYYY_MM'))) IS NULL THEN
      FOREACH parent IN ARRAY ARRAY['products', 'product_events'] LOOP
        EXECUTE format(
          'CREATE TABLE factory.%I PARTITION OF factory.%I FOR VALUES FROM (%L) TO (%L)',
          parent || '_' || to_char(month, 'YYYY_MM'), parent,
          factory.first_id_of(month), factory.first_id_of(month + interval '1 month'));
      END LOOP;
      made := made + 1;
    END IF;
  END LOOP;
  RETURN made;
END $$;
COMMENT ON FUNCTION ensure_partitions IS
  'Makes the months of products and their events that are missing, up to so many ahead; how many months it made.';

GRANT UPDATE (state) ON products TO voketag_factory;
GRANT SELECT ON product_transitions TO voketag_factory;
GRANT SELECT, INSERT ON product_events TO voketag_factory;
GRANT SELECT, INSERT ON product_changes TO voketag_factory;
GRANT UPDATE (next_index, changed, unchanged, refused) ON product_changes TO voketag_factory;
