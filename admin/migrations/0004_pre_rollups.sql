-- Figures kept as things happen: docs/analytics.md. Everything here follows from the other schemas.

-- How far each of them is counted; whoever counts holds the row until it commits.
CREATE TABLE rollups (
  source text PRIMARY KEY,
  position bigint NOT NULL DEFAULT 0,
  counted_since date NOT NULL DEFAULT '-infinity',
  snapshot pg_snapshot,
  as_of timestamptz
) WITH (fillfactor = 20);
COMMENT ON COLUMN rollups.position IS 'Scans: the place in the ledger of the next event.';
COMMENT ON COLUMN rollups.counted_since IS 'Scans: from this day on product_counts has every product that was scanned.';
COMMENT ON COLUMN rollups.snapshot IS 'Batches and windows: what was there at the last look; NULL before the first.';
COMMENT ON COLUMN rollups.as_of IS 'What was there at this time is counted; NULL before the first look.';
INSERT INTO rollups (source) VALUES ('scans'), ('batches'), ('windows'), ('factories'), ('jobs');

-- Sums that change every few seconds: their pages keep room for the next versions.
CREATE TABLE scan_rollups (
  grain text NOT NULL CHECK (grain IN ('hour', 'day')),
  factory_id uuid NOT NULL,
  since timestamptz NOT NULL,
  scans bigint NOT NULL,
  genuine bigint NOT NULL,
  suspicious bigint NOT NULL,
  likely_copy bigint NOT NULL,
  blocked bigint NOT NULL,
  unknown bigint NOT NULL,
  risk_0 bigint NOT NULL,
  risk_10 bigint NOT NULL,
  risk_20 bigint NOT NULL,
  risk_30 bigint NOT NULL,
  risk_40 bigint NOT NULL,
  risk_50 bigint NOT NULL,
  risk_60 bigint NOT NULL,
  risk_70 bigint NOT NULL,
  risk_80 bigint NOT NULL,
  risk_90 bigint NOT NULL,
  risk_total bigint NOT NULL,
  first_scans bigint NOT NULL,
  products bigint NOT NULL DEFAULT 0,
  PRIMARY KEY (grain, factory_id, since)
) WITH (fillfactor = 50);
CREATE INDEX scan_rollups_by_time ON scan_rollups (grain, since);
COMMENT ON TABLE scan_rollups IS
  'Scans by hour and by day (UTC) of the time in their ids. Those of all factories together, and of products whose card '
  'could not be read, are under the id of 16 bytes 0xff.';
COMMENT ON COLUMN scan_rollups.risk_0 IS 'Risk 0 to 9, and so on; 100 is in risk_90. Scans without a risk are in none.';
COMMENT ON COLUMN scan_rollups.risk_total IS 'The sum of all risks.';
COMMENT ON COLUMN scan_rollups.first_scans IS 'Scans before which the ledger has none of the same product.';
COMMENT ON COLUMN scan_rollups.products IS 'Days: how many products were scanned.';

CREATE TABLE country_rollups (
  grain text NOT NULL CHECK (grain IN ('hour', 'day')),
  factory_id uuid NOT NULL,
  since timestamptz NOT NULL,
  country text NOT NULL,
  scans bigint NOT NULL,
  PRIMARY KEY (grain, factory_id, since, country)
) WITH (fillfactor = 50);
COMMENT ON TABLE country_rollups IS 'As scan_rollups, by country; empty where it is not known.';

CREATE TABLE product_rollups (
  factory_id uuid NOT NULL,
  day date NOT NULL,
  product_id uuid NOT NULL,
  scans bigint NOT NULL,
  PRIMARY KEY (factory_id, day, product_id)
) WITH (fillfactor = 50);
COMMENT ON TABLE product_rollups IS
  'The products with most scans of each day, of all factories and of each; of those with equally many the smaller ids.';

CREATE TABLE product_counts (
  day date NOT NULL,
  product_id uuid NOT NULL,
  scans bigint NOT NULL,
  known bigint NOT NULL,
  PRIMARY KEY (day, product_id)
) WITH (fillfactor = 70);
COMMENT ON TABLE product_counts IS 'Every product of the last days, which product_rollups are chosen from.';
COMMENT ON COLUMN product_counts.known IS 'Scans whose factory is known.';

CREATE TABLE scanned_products (product_id uuid PRIMARY KEY);
COMMENT ON TABLE scanned_products IS 'Products that were scanned before: what tells a first scan.';

CREATE TABLE batch_copies (
  batch_id uuid PRIMARY KEY,
  factory_id uuid NOT NULL,
  day date NOT NULL,
  state text NOT NULL,
  products bigint NOT NULL
) WITH (fillfactor = 50);
COMMENT ON TABLE batch_copies IS 'Batches as they were counted last, so that one that is looked at twice counts once.';

CREATE TABLE batch_rollups (
  factory_id uuid NOT NULL,
  day date NOT NULL,
  state text NOT NULL,
  batches bigint NOT NULL,
  products bigint NOT NULL,
  PRIMARY KEY (factory_id, day, state)
) WITH (fillfactor = 50);
COMMENT ON TABLE batch_rollups IS
  'Batches by the day (UTC) that they were made on and the state that they are in, with the products issued in them.';

CREATE TABLE window_copies (
  tree_id bigint PRIMARY KEY,
  day date NOT NULL,
  roots bigint NOT NULL,
  gas_used bigint,
  fee_wei numeric,
  total_ms bigint NOT NULL,
  most_ms bigint NOT NULL
);
CREATE INDEX window_copies_by_day ON window_copies (day);
COMMENT ON TABLE window_copies IS 'Final windows as they were counted last.';

CREATE TABLE window_rollups (
  day date PRIMARY KEY,
  windows bigint NOT NULL,
  roots bigint NOT NULL,
  gas_used bigint NOT NULL,
  fee_wei numeric NOT NULL,
  total_ms bigint NOT NULL,
  most_ms bigint NOT NULL
);
COMMENT ON TABLE window_rollups IS
  'Anchored windows by the day (UTC) that they became final on: what they cost, and how long their roots took from being '
  'submitted, all together and at most.';

CREATE TABLE root_backlog (
  one boolean PRIMARY KEY DEFAULT true CHECK (one),
  roots bigint NOT NULL,
  oldest_at timestamptz
);
COMMENT ON TABLE root_backlog IS 'Roots that were not final at the last look at windows.';

CREATE TABLE factory_copies (factory_id uuid PRIMARY KEY, name text NOT NULL);

CREATE TABLE job_health (
  queue text NOT NULL,
  job text NOT NULL,
  waiting bigint NOT NULL,
  running bigint NOT NULL,
  held bigint NOT NULL,
  oldest_at timestamptz,
  PRIMARY KEY (queue, job)
);
COMMENT ON COLUMN job_health.oldest_at IS 'Since when the first of those that wait is due.';

GRANT SELECT, UPDATE ON rollups TO voketag_admin;
GRANT SELECT, INSERT, UPDATE, DELETE ON scan_rollups, country_rollups, product_rollups, product_counts, batch_copies,
  batch_rollups, window_copies, window_rollups, root_backlog, factory_copies, job_health TO voketag_admin;
GRANT SELECT, INSERT ON scanned_products TO voketag_admin;
