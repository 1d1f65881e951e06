-- What admin counts: nothing of these columns is personal.
CREATE VIEW counted_events AS
  SELECT ledger_index, event_id, product_id, factory_id, at, verdict, risk, country FROM events;
COMMENT ON VIEW counted_events IS 'Scans by their place in the ledger, which is the order in which they are committed.';

CREATE VIEW ledger_end AS SELECT size FROM ledger;
COMMENT ON VIEW ledger_end IS
  'How many places the ledger has. Whoever appends holds the row until it commits: every event below the size that a '
  'statement sees is there for the next one.';

GRANT SELECT ON counted_events, ledger_end TO voketag_admin;
