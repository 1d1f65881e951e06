-- The scan ledger: docs/ledger.md. What is here follows from the entries; the entries are rows of the journal.

-- Where the ledger ends, one row; whoever appends holds it until the transaction with the entries commits.
CREATE TABLE scan.ledger (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    origin text NOT NULL,
    size bigint NOT NULL CHECK (size >= 0),
    last bytea NOT NULL CHECK (octet_length(last) = 32)
) WITH (fillfactor = 20);  -- changed with every group of scans: the versions stay in one page

-- The tree's hashes in the geometry of trust.tiles; a tile at the right edge grows, and no hash in it ever changes.
CREATE TABLE scan.ledger_tiles (
    level smallint NOT NULL CHECK (level BETWEEN 0 AND 7),
    number bigint NOT NULL CHECK (number >= 0),
    hashes bytea NOT NULL CHECK (octet_length(hashes) % 32 = 0 AND octet_length(hashes) BETWEEN 32 AND 8192),
    PRIMARY KEY (level, number)
);
ALTER TABLE scan.ledger_tiles ALTER hashes SET STORAGE EXTERNAL;  -- hashes do not compress

-- Every checkpoint ever signed, as it was signed. Nobody of ours may change or delete one.
CREATE TABLE scan.ledger_checkpoints (
    size bigint PRIMARY KEY CHECK (size > 0),
    root bytea NOT NULL CHECK (octet_length(root) = 32),
    note bytea NOT NULL,
    signed_at timestamptz NOT NULL
);

GRANT SELECT, INSERT, UPDATE ON scan.ledger, scan.ledger_tiles TO voketag_scan;
GRANT SELECT, INSERT ON scan.ledger_checkpoints TO voketag_scan;
