-- What factories are to be told: written with the scan that gave the suspicion, sent until the factory service has it.
CREATE TABLE suspicions (
  product_id uuid NOT NULL,
  verdict smallint NOT NULL,
  day date NOT NULL,
  event_id uuid NOT NULL,
  risk smallint,
  tries integer NOT NULL DEFAULT 0,
  next_at timestamptz NOT NULL DEFAULT now(),
  settled_at timestamptz,
  refusal text,
  -- Once a product, verdict and day (UTC), however many scans say it.
  PRIMARY KEY (product_id, verdict, day)
);
CREATE INDEX ON suspicions (next_at) WHERE settled_at IS NULL;
COMMENT ON COLUMN suspicions.event_id IS 'The scan that said it first, and the id under which the factory service is told.';
COMMENT ON COLUMN suspicions.refusal IS 'Why the factory service will not have it, when it will not.';

GRANT SELECT, INSERT, UPDATE (tries, next_at, settled_at, refusal), DELETE ON suspicions TO voketag_scan;
