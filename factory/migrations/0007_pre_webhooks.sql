-- Webhooks: endpoints, the events they are told, a delivery for each, and every attempt. No secret is at rest here.

CREATE TABLE webhook_endpoints (
  factory_id uuid NOT NULL,
  endpoint_id uuid NOT NULL,
  url text NOT NULL,
  event_types text[] NOT NULL,
  version integer NOT NULL DEFAULT 1,
  retired timestamptz[] NOT NULL DEFAULT '{}',
  disabled_at timestamptz,
  disable_reason text,
  created_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (factory_id, endpoint_id),
  CHECK ((disabled_at IS NULL) = (disable_reason IS NULL)),
  CHECK (cardinality(retired) = least(version - 1, 3))
);
COMMENT ON COLUMN webhook_endpoints.event_types IS 'Empty is all.';
COMMENT ON COLUMN webhook_endpoints.version IS 'Of its secret, which follows from the root secret, the endpoint''s id and this.';
COMMENT ON COLUMN webhook_endpoints.retired IS 'When the versions before were replaced, at most three, newest first.';

CREATE TABLE webhook_events (
  factory_id uuid NOT NULL,
  event_id uuid NOT NULL,
  type text NOT NULL,
  body bytea NOT NULL CHECK (octet_length(body) <= 65536),
  PRIMARY KEY (factory_id, event_id)
);
COMMENT ON TABLE webhook_events IS 'Written in the transaction of what they tell, when there is an endpoint to tell.';
COMMENT ON COLUMN webhook_events.body IS 'The bytes of every attempt: a CloudEvent 1.0 in JSON.';

CREATE TABLE webhook_deliveries (
  factory_id uuid NOT NULL,
  delivery_id uuid NOT NULL,
  endpoint_id uuid NOT NULL,
  event_id uuid NOT NULL,
  state text NOT NULL DEFAULT 'PENDING' CHECK (state IN ('PENDING', 'DELIVERED', 'FAILED', 'DROPPED')),
  round integer NOT NULL DEFAULT 1,
  attempts integer NOT NULL DEFAULT 0,
  next_attempt_at timestamptz,
  PRIMARY KEY (factory_id, delivery_id)
);
COMMENT ON COLUMN webhook_deliveries.round IS 'Replays begin the next one; the job of an earlier round does nothing.';
COMMENT ON COLUMN webhook_deliveries.attempts IS 'Of this round.';

-- Lists go by endpoint, newest first.
CREATE INDEX webhook_deliveries_by_endpoint ON webhook_deliveries (factory_id, endpoint_id, delivery_id);

CREATE TABLE webhook_attempts (
  factory_id uuid NOT NULL,
  delivery_id uuid NOT NULL,
  attempt_id uuid NOT NULL,
  attempted_at timestamptz NOT NULL,
  status smallint,
  error text NOT NULL,
  duration_ms integer NOT NULL,
  answer text NOT NULL CHECK (octet_length(answer) <= 1024),
  PRIMARY KEY (factory_id, delivery_id, attempt_id)
);

-- The second wall between factories, as 0008 builds it for the tables before; its function is not there yet.
ALTER TABLE webhook_endpoints ENABLE ROW LEVEL SECURITY;
ALTER TABLE webhook_events ENABLE ROW LEVEL SECURITY;
ALTER TABLE webhook_deliveries ENABLE ROW LEVEL SECURITY;
ALTER TABLE webhook_attempts ENABLE ROW LEVEL SECURITY;
CREATE POLICY tenant ON webhook_endpoints USING (current_setting('voketag.tenant', true) IN ('*', factory_id::text));
CREATE POLICY tenant ON webhook_events USING (current_setting('voketag.tenant', true) IN ('*', factory_id::text));
CREATE POLICY tenant ON webhook_deliveries USING (current_setting('voketag.tenant', true) IN ('*', factory_id::text));
CREATE POLICY tenant ON webhook_attempts USING (current_setting('voketag.tenant', true) IN ('*', factory_id::text));

CREATE FUNCTION owner_of(product_id uuid) RETURNS TABLE (factory_id uuid, batch_id uuid)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = factory, pg_catalog AS $$
  SELECT batch.factory_id, batch.batch_id
  FROM products product JOIN batches batch ON batch.batch_id = product.batch_id
  WHERE product.product_id = owner_of.product_id
$$;
COMMENT ON FUNCTION owner_of IS 'Whose product it is, across factories: for what other services have to say of it.';
REVOKE EXECUTE ON FUNCTION owner_of FROM PUBLIC;
GRANT EXECUTE ON FUNCTION owner_of TO voketag_factory;

GRANT SELECT, INSERT ON webhook_endpoints, webhook_events, webhook_deliveries, webhook_attempts TO voketag_factory;
GRANT UPDATE (version, retired, disabled_at, disable_reason) ON webhook_endpoints TO voketag_factory;
GRANT UPDATE (state, round, attempts, next_attempt_at) ON webhook_deliveries TO voketag_factory;
