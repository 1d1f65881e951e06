-- What staff rule of products, batches and keys. Factories cannot reach it: their changes of a state undo no ruling.
CREATE TABLE rulings (
  ruling_id uuid PRIMARY KEY,
  kind text NOT NULL CHECK (kind IN ('BLOCK', 'REVOKE', 'CLEAR')),
  subject text NOT NULL CHECK (
    CASE kind
      WHEN 'REVOKE' THEN subject ~ '^key/\d{1,3}$'
      WHEN 'CLEAR' THEN subject ~ '^product/[0-9a-f-]{36}$'
      ELSE subject ~ '^(product|batch)/[0-9a-f-]{36}$'
    END),
  lifts boolean NOT NULL,
  note text NOT NULL CHECK (char_length(note) BETWEEN 1 AND 2000),
  ruled_by uuid NOT NULL,
  ruled_at timestamptz NOT NULL DEFAULT now(),
  ended_by uuid REFERENCES rulings DEFERRABLE INITIALLY DEFERRED
);
COMMENT ON COLUMN rulings.subject IS 'product/<id>, batch/<id> or key/<kid>.';
COMMENT ON COLUMN rulings.lifts IS 'True when it takes back the one before.';
COMMENT ON COLUMN rulings.ended_by IS 'The ruling that took this one back or came in its place; NULL while it is in force.';
-- At most one of a kind is in force; scans find those of a product, its batch and its key by it.
CREATE UNIQUE INDEX rulings_in_force ON rulings (subject, kind) WHERE NOT lifts AND ended_by IS NULL;
CREATE INDEX rulings_by_subject ON rulings (subject, ruling_id);

GRANT SELECT, INSERT, UPDATE (ended_by) ON rulings TO voketag_scan;

CREATE VIEW ruling_history AS
  SELECT ruling_id, kind, subject, lifts, note, ruled_by, ruled_at, ended_by FROM rulings;
COMMENT ON VIEW ruling_history IS 'Every ruling, for the fraud desk of admin.';
GRANT SELECT ON ruling_history TO voketag_admin;
