-- Roots on their way to the chain. A root is a row from the moment SubmitRoot answers; the submitter gathers rows into
-- trees, and each tree is one transaction.

CREATE SCHEMA IF NOT EXISTS anchor;

-- One row a window. Its roots take the positions first_position .. first_position + size - 1, in leaf order, in the
-- transaction that makes the tree final; so WatchFinality needs no write per root.
CREATE TABLE anchor.trees (
    tree_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    root bytea NOT NULL UNIQUE CHECK (octet_length(root) = 32),
    size integer NOT NULL CHECK (size > 0),
    first_position bigint UNIQUE CHECK (first_position > 0),
    built_at timestamptz NOT NULL DEFAULT now()
);

-- The tree's hashes in the geometry of trust.tiles: a proof reads one tile a level.
CREATE TABLE anchor.tiles (
    tree_id bigint NOT NULL REFERENCES anchor.trees,
    level smallint NOT NULL,
    number integer NOT NULL,
    hashes bytea NOT NULL CHECK (octet_length(hashes) % 32 = 0 AND octet_length(hashes) BETWEEN 32 AND 8192),
    PRIMARY KEY (tree_id, level, number)
);
ALTER TABLE anchor.tiles ALTER hashes SET STORAGE EXTERNAL;  -- hashes do not compress

CREATE TABLE anchor.submissions (
    submission_id uuid PRIMARY KEY,
    subject_id uuid NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    tree_id bigint,
    size bigint NOT NULL CHECK (size > 0),
    leaf_index integer,
    kind smallint NOT NULL CHECK (kind BETWEEN 1 AND 255),
    root bytea NOT NULL CHECK (octet_length(root) = 32),
    UNIQUE (subject_id, kind),
    CHECK ((tree_id IS NULL) = (leaf_index IS NULL))
);
CREATE INDEX submissions_pending ON anchor.submissions (submission_id) WHERE tree_id IS NULL;
CREATE UNIQUE INDEX submissions_leaves ON anchor.submissions (tree_id, leaf_index) WHERE tree_id IS NOT NULL;

-- One row a tree. `hash` and `block_number` say where the registration stands, from `mined` on.
CREATE TABLE anchor.transactions (
    tree_id bigint PRIMARY KEY REFERENCES anchor.trees,
    state text NOT NULL DEFAULT 'built' CHECK (state IN ('built', 'signed', 'sent', 'mined', 'final')),
    chain_kind text NOT NULL,
    chain_id bigint NOT NULL,
    contract text NOT NULL,
    sender text NOT NULL,
    nonce bigint,
    hash bytea CHECK (octet_length(hash) = 32),
    block_number bigint,
    fence bigint NOT NULL,
    mined_at timestamptz,
    final_at timestamptz,
    UNIQUE (chain_id, sender, nonce),
    CHECK ((state = 'built') = (nonce IS NULL)),
    CHECK ((state IN ('mined', 'final')) = (hash IS NOT NULL)),
    CHECK ((hash IS NULL) = (block_number IS NULL) AND (hash IS NULL) = (mined_at IS NULL)),
    CHECK ((state = 'final') = (final_at IS NOT NULL))
);
CREATE INDEX transactions_open ON anchor.transactions (tree_id) WHERE state <> 'final';

-- Every transaction ever signed, kept before it is sent: any of them may be the one that is mined.
CREATE TABLE anchor.attempts (
    tree_id bigint NOT NULL REFERENCES anchor.transactions,
    number integer NOT NULL CHECK (number > 0),
    nonce bigint NOT NULL,
    hash bytea NOT NULL UNIQUE CHECK (octet_length(hash) = 32),
    raw bytea NOT NULL,
    max_fee bigint NOT NULL,
    priority_fee bigint NOT NULL,
    signed_at timestamptz NOT NULL DEFAULT now(),
    sent_at timestamptz,
    PRIMARY KEY (tree_id, number)
);

-- Who submits. Each new holder gets the next fence, and every write of the submitter holds this row at its own fence.
CREATE TABLE anchor.lease (
    name text PRIMARY KEY,
    holder uuid NOT NULL,
    fence bigint NOT NULL,
    expires_at timestamptz NOT NULL
);

CREATE TABLE anchor.idempotency (
    caller text NOT NULL,
    request_id uuid NOT NULL,
    method text NOT NULL,
    digest bytea NOT NULL,
    resource_id uuid NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (caller, request_id)
);

CREATE TABLE anchor.audit (
    audit_id uuid PRIMARY KEY,
    at timestamptz NOT NULL,
    actor_kind text NOT NULL,
    actor_id text NOT NULL,
    method text NOT NULL,
    resource text NOT NULL,
    request_id uuid,
    address_prefix text NOT NULL,
    detail jsonb NOT NULL
);

-- The state machine's legal steps. A step back is what a chain can do: a reorganisation takes a block away (to `sent`),
-- or another transaction of the key takes the nonce (to `built`).
CREATE FUNCTION anchor.check_step() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.fence < OLD.fence THEN
        RAISE EXCEPTION 'tree %: fence % is older than %', OLD.tree_id, NEW.fence, OLD.fence
            USING ERRCODE = 'check_violation';
    END IF;
    IF NEW.state <> OLD.state AND (OLD.state, NEW.state) NOT IN (
        ('built', 'signed'), ('signed', 'sent'), ('sent', 'mined'), ('mined', 'final'),
        ('signed', 'built'), ('sent', 'built'), ('mined', 'sent'), ('final', 'sent')
    ) THEN
        RAISE EXCEPTION 'tree %: no step from % to %', OLD.tree_id, OLD.state, NEW.state
            USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER transactions_step BEFORE UPDATE ON anchor.transactions
    FOR EACH ROW EXECUTE FUNCTION anchor.check_step();

-- Wakes watchers when the step commits. Submissions send nothing: NOTIFY takes a lock that would serialise their commits.
CREATE FUNCTION anchor.tell_watchers() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('anchor_changed', '');
    RETURN NULL;
END $$;
CREATE TRIGGER transactions_told AFTER INSERT OR UPDATE OF state ON anchor.transactions
    FOR EACH STATEMENT EXECUTE FUNCTION anchor.tell_watchers();

CREATE VIEW anchor.audit_entries AS SELECT * FROM anchor.audit;

GRANT USAGE ON SCHEMA anchor TO voketag_anchor, voketag_admin;
GRANT SELECT, INSERT, UPDATE ON anchor.trees, anchor.submissions, anchor.transactions, anchor.attempts, anchor.lease
    TO voketag_anchor;
GRANT SELECT, INSERT ON anchor.tiles, anchor.idempotency, anchor.audit TO voketag_anchor;
GRANT SELECT ON anchor.audit_entries TO voketag_admin;
