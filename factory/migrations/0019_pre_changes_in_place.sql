-- A batch's row changes in its place again, at every chunk of an import: of all indexes only a BRIN one lets it (PostgreSQL 16).
-- There is no BRIN for xid8, so it is of the number; what changed lately lies in few ranges, as new batches do.

DROP INDEX batches_changed;
CREATE INDEX batches_changed ON batches USING brin ((changed_in::text::bigint))
  WITH (pages_per_range = 16, autosummarize = on);
