-- What operators may ask of the submitter.

-- One row. While it is frozen no window closes, and nothing is signed or sent.
CREATE TABLE anchor.control (
    single boolean PRIMARY KEY DEFAULT true CHECK (single),
    frozen boolean NOT NULL DEFAULT false,
    why text NOT NULL DEFAULT '',
    changed_at timestamptz NOT NULL DEFAULT now()
);
INSERT INTO anchor.control DEFAULT VALUES;

-- What was sent before this is to be sent again.
ALTER TABLE anchor.transactions ADD COLUMN retry_at timestamptz;

GRANT SELECT, UPDATE ON anchor.control TO voketag_anchor;
