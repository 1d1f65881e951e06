-- A tree is anchored at one target or at several, and final when as many of them have it as its policy asks for.

-- The policy that was in force when the window closed. `state` and `final_at` follow from the stamps.
ALTER TABLE anchor.trees
    ADD COLUMN targets text[] NOT NULL DEFAULT '{chain}' CHECK (cardinality(targets) > 0),
    ADD COLUMN needed smallint NOT NULL DEFAULT 1,
    ADD COLUMN state text NOT NULL DEFAULT 'submitted' CHECK (state IN ('submitted', 'mined', 'final')),
    ADD COLUMN final_at timestamptz,
    ADD CHECK (needed BETWEEN 1 AND cardinality(targets)),
    ADD CHECK ((state = 'final') = (final_at IS NOT NULL));

-- What a target has of a tree, one row each from the moment that the window closes.
CREATE TABLE anchor.stamps (
    tree_id bigint NOT NULL REFERENCES anchor.trees,
    target text NOT NULL,
    state text NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'mined', 'final')),
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tree_id, target)
);

-- A tree has a transaction at every chain among its targets.
ALTER TABLE anchor.attempts DROP CONSTRAINT attempts_tree_id_fkey;
ALTER TABLE anchor.transactions
    ADD COLUMN target text NOT NULL DEFAULT 'chain',
    DROP CONSTRAINT transactions_pkey,
    ADD PRIMARY KEY (tree_id, target);
ALTER TABLE anchor.attempts
    ADD COLUMN target text NOT NULL DEFAULT 'chain',
    DROP CONSTRAINT attempts_pkey,
    ADD PRIMARY KEY (tree_id, target, number),
    ADD FOREIGN KEY (tree_id, target) REFERENCES anchor.transactions;

-- What was anchored before had one target.
INSERT INTO anchor.stamps (tree_id, target, state, created_at)
SELECT tree_id, target, CASE WHEN x.state IN ('mined', 'final') THEN x.state ELSE 'waiting' END, t.built_at
FROM anchor.transactions x JOIN anchor.trees t USING (tree_id);
UPDATE anchor.trees t SET state = x.state, final_at = x.final_at
FROM anchor.transactions x WHERE x.tree_id = t.tree_id AND x.state IN ('mined', 'final');

CREATE INDEX stamps_open ON anchor.stamps (target, tree_id) WHERE state <> 'final';
CREATE INDEX trees_open ON anchor.trees (tree_id) WHERE state <> 'final';

CREATE FUNCTION anchor.follow_transaction() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO anchor.stamps AS stamp (tree_id, target, state)
    VALUES (NEW.tree_id, NEW.target, CASE WHEN NEW.state IN ('mined', 'final') THEN NEW.state ELSE 'waiting' END)
    ON CONFLICT (tree_id, target) DO UPDATE SET state = excluded.state WHERE stamp.state <> excluded.state;
    RETURN NULL;
END $$;
CREATE TRIGGER transactions_followed AFTER INSERT OR UPDATE OF state ON anchor.transactions
    FOR EACH ROW EXECUTE FUNCTION anchor.follow_transaction();

-- A tree's state, and its positions when it is final for the first time; it keeps them whatever a chain loses later.
CREATE FUNCTION anchor.judge_tree() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    standing text;
    place bigint;
BEGIN
    -- One target at a time, so that the second of two that change at once sees the first.
    SELECT first_position INTO place FROM anchor.trees WHERE tree_id = NEW.tree_id FOR NO KEY UPDATE;
    SELECT CASE
        WHEN count(*) FILTER (WHERE s.state = 'final') >= t.needed THEN 'final'
        WHEN count(*) FILTER (WHERE s.state <> 'waiting') >= t.needed THEN 'mined'
        ELSE 'submitted' END
    INTO standing
    FROM anchor.trees t LEFT JOIN anchor.stamps s ON s.tree_id = t.tree_id AND s.target = ANY(t.targets)
    WHERE t.tree_id = NEW.tree_id GROUP BY t.tree_id;
    IF standing = 'final' AND place IS NULL THEN
        PERFORM pg_advisory_xact_lock(hashtext('anchor.positions'));  -- positions follow each other without gaps
        SELECT coalesce(max(first_position + size), 1) INTO place FROM anchor.trees WHERE first_position = (
            SELECT max(first_position) FROM anchor.trees
        );
    END IF;
    UPDATE anchor.trees SET
        state = standing,
        first_position = place,
        final_at = CASE WHEN standing = 'final' THEN coalesce(final_at, clock_timestamp()) END
    WHERE tree_id = NEW.tree_id AND (state <> standing OR first_position IS DISTINCT FROM place);
    RETURN NULL;
END $$;
CREATE TRIGGER stamps_judged AFTER INSERT OR UPDATE OF state ON anchor.stamps
    FOR EACH ROW EXECUTE FUNCTION anchor.judge_tree();
CREATE TRIGGER stamps_told AFTER INSERT OR UPDATE OF state ON anchor.stamps
    FOR EACH STATEMENT EXECUTE FUNCTION anchor.tell_watchers();

-- How far a tree is, and where to find it: of the chains that have it, the one that its policy names first.
CREATE VIEW anchor.progress WITH (security_invoker = true) AS
SELECT t.tree_id, t.state, t.final_at, x.chain_kind, x.chain_id, x.contract, x.hash, x.block_number
FROM anchor.trees t LEFT JOIN LATERAL (
    SELECT * FROM anchor.transactions x
    WHERE x.tree_id = t.tree_id AND x.hash IS NOT NULL AND t.state <> 'submitted'
      AND (t.state <> 'final' OR x.state = 'final')
    ORDER BY array_position(t.targets, x.target) LIMIT 1
) x ON true;

-- A window is counted once, by the chain that its policy names first; what others cost is in other coins.
CREATE OR REPLACE VIEW anchor.counted_windows AS
    SELECT x.tree_id, t.size, x.state, x.final_at, x.gas_used, x.gas_price, x.changed_in, waited.total_ms, waited.most_ms
    FROM anchor.transactions x
    JOIN anchor.trees t ON t.tree_id = x.tree_id AND t.targets[1] = x.target
    CROSS JOIN LATERAL (
        SELECT sum(ms)::bigint AS total_ms, max(ms) AS most_ms
        FROM (
            SELECT greatest(round(extract(epoch FROM x.final_at - s.created_at) * 1000), 0)::bigint AS ms
            FROM anchor.submissions s WHERE s.tree_id = x.tree_id AND x.state = 'final'
        ) AS leaf
    ) AS waited;

-- A root waits until its tree is final, whatever its policy asks for, and whoever has taken it up.
CREATE OR REPLACE VIEW anchor.waiting_roots AS
    SELECT pending.roots + open.roots AS roots, least(pending.oldest_at, open.oldest_at) AS oldest_at
    FROM (SELECT count(*) AS roots, min(created_at) AS oldest_at FROM anchor.submissions WHERE tree_id IS NULL) AS pending,
        (SELECT coalesce(sum(t.size), 0)::bigint AS roots, min(s.created_at) AS oldest_at
         FROM anchor.trees t JOIN anchor.submissions s ON s.tree_id = t.tree_id AND s.leaf_index = 0
         WHERE t.state <> 'final') AS open;

GRANT SELECT, INSERT, UPDATE ON anchor.stamps TO voketag_anchor;
GRANT SELECT ON anchor.progress TO voketag_anchor;
