-- The journal of scans: one row a scan, in the order of the ledger; months are partitions by the time in the event's id.

CREATE TABLE events (
  product_id uuid NOT NULL,
  event_id uuid NOT NULL,
  at timestamptz NOT NULL,
  batch_id uuid,
  factory_id uuid,
  verdict smallint NOT NULL,
  risk smallint CHECK (risk BETWEEN 0 AND 100),
  factors bytea NOT NULL,
  risk_version integer NOT NULL,
  weights_version text NOT NULL,
  prefix_hmac bytea,
  device_hmac bytea,
  blind bytea,
  personal bytea NOT NULL CHECK (octet_length(personal) = 32),
  country text NOT NULL,
  source smallint NOT NULL,
  facts bytea NOT NULL,
  ledger_index bigint NOT NULL,
  -- By product first, which is what rows are spread by where there are several servers.
  PRIMARY KEY (product_id, event_id)
) PARTITION BY RANGE (event_id);
COMMENT ON TABLE events IS 'One row a scan. Rows are never changed but by forget(), which leaves what the ledger commits to.';
COMMENT ON COLUMN events.at IS 'The time in event_id, a UUIDv7, in milliseconds.';
COMMENT ON COLUMN events.batch_id IS 'NULL, as factory_id, when the product''s card could not be read.';
COMMENT ON COLUMN events.risk IS 'NULL when no risk was worked out.';
COMMENT ON COLUMN events.factors IS 'JSON of the scores, as the risk engine of risk_version gave them.';
COMMENT ON COLUMN events.prefix_hmac IS 'Personal, as device_hmac and blind: NULL once forgotten, meaningless once the day''s salt is gone.';
COMMENT ON COLUMN events.personal IS 'The ledger''s commitment to the personal columns (trust.ledger.Opening); zeros when there was nothing personal.';
COMMENT ON COLUMN events.country IS 'ISO 3166-1 alpha-2; empty when not known.';
COMMENT ON COLUMN events.source IS '1 a single call, 2 a stream.';
COMMENT ON COLUMN events.facts IS 'JSON of what the risk was worked out from, so that history can be judged anew.';
-- Rows come in the order of both, so a summary of each range of pages is enough, and costs next to nothing.
CREATE INDEX events_in_order ON events USING brin (ledger_index, at) WITH (autosummarize = on);

CREATE FUNCTION first_id_of(at timestamp) RETURNS uuid LANGUAGE sql IMMUTABLE AS $$
  SELECT rpad(lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0'), 32, '0')::uuid
$$;
COMMENT ON FUNCTION first_id_of IS 'No UUIDv7 made at or after this time (UTC) is smaller.';

CREATE FUNCTION event_months() RETURNS SETOF timestamp LANGUAGE sql STABLE AS $$
  SELECT to_date(right(month.relname, 7), 'YYYY_MM')::timestamp
  FROM pg_catalog.pg_inherits JOIN pg_catalog.pg_class month ON month.oid = inhrelid
  WHERE inhparent = 'scan.events'::regclass
$$;
COMMENT ON FUNCTION event_months IS 'The months (UTC) that events can lie in.';

CREATE FUNCTION ensure_event_months(months_ahead integer) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = scan, pg_catalog AS $$
DECLARE
  this_month timestamp := date_trunc('month', now() AT TIME ZONE 'UTC');
  month timestamp;
  partition text;
  made integer := 0;
BEGIN
  PERFORM pg_advisory_xact_lock(hashtext('scan.events'));
  -- Last month too: another machine's clock may still be in it.
  FOR ahead IN -1 .. least(months_ahead, 24) LOOP
    month := this_month + ahead * interval '1 month';
    partition := 'events_' || to_char(month, 'YYYY_MM');
    IF to_regclass(format('scan.%I', partition)) IS NULL THEN
      EXECUTE format(
        'CREATE TABLE scan.%I PARTITION OF scan.events FOR VALUES FROM (%L) TO (%L)',
        partition, scan.first_id_of(month), scan.first_id_of(month + interval '1 month'));
      made := made + 1;
    END IF;
  END LOOP;
  RETURN made;
END $$;
COMMENT ON FUNCTION ensure_event_months IS 'Makes the months of events that are missing, up to so many ahead; how many it made.';

SELECT ensure_event_months(3);

-- Gives up soon when a long read holds the table: the writers wait behind it.
CREATE FUNCTION drop_event_months(months_kept integer) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = scan, pg_catalog SET lock_timeout = '1s' AS $$
DECLARE
  since timestamp := date_trunc('month', now() AT TIME ZONE 'UTC') - greatest(months_kept, 2) * interval '1 month';
  past timestamp;
  dropped integer := 0;
BEGIN
  PERFORM pg_advisory_xact_lock(hashtext('scan.events'));
  FOR past IN SELECT old.month FROM scan.event_months() AS old (month) WHERE old.month < since LOOP
    EXECUTE format('DROP TABLE scan.%I', 'events_' || to_char(past, 'YYYY_MM'));
    dropped := dropped + 1;
  END LOOP;
  RETURN dropped;
END $$;
COMMENT ON FUNCTION drop_event_months IS
  'Drops the months of events before so many whole ones and this one, of which two always stay; how many it dropped.';

CREATE FUNCTION forget(product uuid, event_ids uuid[]) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = scan, pg_catalog AS $$
DECLARE
  forgotten integer;
BEGIN
  UPDATE scan.events SET prefix_hmac = NULL, device_hmac = NULL, blind = NULL
  WHERE product_id = product AND event_id = ANY (event_ids);
  GET DIAGNOSTICS forgotten = ROW_COUNT;
  RETURN forgotten;
END $$;
COMMENT ON FUNCTION forget IS 'Nulls what is personal in these events of a product; how many there were. The ledger stays whole.';

CREATE TABLE stream_offset (
  shard integer PRIMARY KEY CHECK (shard >= 0),
  last_id text NOT NULL DEFAULT '0-0' CHECK (last_id ~ '^\d{1,20}-\d{1,20}$')
);
COMMENT ON TABLE stream_offset IS 'How far each stream of scans is in the journal; moved in the transaction that writes the events.';

CREATE TABLE dead_entries (
  shard integer NOT NULL,
  stream_id text NOT NULL,
  at timestamptz NOT NULL DEFAULT now(),
  reason text NOT NULL,
  fields bytea[] NOT NULL,
  PRIMARY KEY (shard, stream_id)
);
COMMENT ON TABLE dead_entries IS 'Entries of a stream that are no events: set aside, so that those behind them go on.';
COMMENT ON COLUMN dead_entries.fields IS 'Names and values in turn, as they stood in the stream.';

GRANT SELECT, INSERT ON events, dead_entries TO voketag_scan;
GRANT SELECT, INSERT, UPDATE (last_id) ON stream_offset TO voketag_scan;
REVOKE EXECUTE ON FUNCTION ensure_event_months, drop_event_months, forget FROM PUBLIC;
GRANT EXECUTE ON FUNCTION ensure_event_months, drop_event_months, forget TO voketag_scan;
