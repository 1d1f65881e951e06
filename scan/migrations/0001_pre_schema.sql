-- Scan keeps no rows yet: cards are the factory's, counters are in Valkey. Its own schema is there to begin with.

CREATE SCHEMA IF NOT EXISTS scan;
GRANT USAGE ON SCHEMA scan TO voketag_scan;
