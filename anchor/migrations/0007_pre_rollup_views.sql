-- What anchoring costs and how long it takes, for admin to count.

ALTER TABLE anchor.transactions
    ADD COLUMN gas_used bigint CHECK (gas_used >= 0),
    ADD COLUMN gas_price bigint CHECK (gas_price >= 0),
    ADD COLUMN changed_in xid8;
COMMENT ON COLUMN anchor.transactions.gas_used IS 'What the transaction that it stands in used; NULL when not known.';
COMMENT ON COLUMN anchor.transactions.gas_price IS 'What a unit of it cost, in wei (EIP-1559: the effective price).';
COMMENT ON COLUMN anchor.transactions.changed_in IS
    'The transaction of the database that changed the state last; NULL before there was this column.';
CREATE INDEX transactions_changed ON anchor.transactions (changed_in);

CREATE FUNCTION anchor.note_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.changed_in := pg_current_xact_id();
    RETURN NEW;
END $$;
CREATE TRIGGER transactions_changed BEFORE INSERT OR UPDATE OF state ON anchor.transactions
    FOR EACH ROW EXECUTE FUNCTION anchor.note_change();

CREATE VIEW anchor.counted_windows AS
    SELECT x.tree_id, t.size, x.state, x.final_at, x.gas_used, x.gas_price, x.changed_in, waited.total_ms, waited.most_ms
    FROM anchor.transactions x
    JOIN anchor.trees t USING (tree_id)
    CROSS JOIN LATERAL (
        SELECT sum(ms)::bigint AS total_ms, max(ms) AS most_ms
        FROM (
            SELECT greatest(round(extract(epoch FROM x.final_at - s.created_at) * 1000), 0)::bigint AS ms
            FROM anchor.submissions s WHERE s.tree_id = x.tree_id AND x.state = 'final'
        ) AS leaf
    ) AS waited;
COMMENT ON VIEW anchor.counted_windows IS
    'Windows by the transaction that changed them last. total_ms and most_ms: how long its roots took from being submitted '
    'to being final, all together and at most; NULL until the window is final, and worked out only when selected.';

CREATE VIEW anchor.waiting_roots AS
    SELECT pending.roots + open.roots AS roots, least(pending.oldest_at, open.oldest_at) AS oldest_at
    FROM (SELECT count(*) AS roots, min(created_at) AS oldest_at FROM anchor.submissions WHERE tree_id IS NULL) AS pending,
        (SELECT coalesce(sum(t.size), 0)::bigint AS roots, min(s.created_at) AS oldest_at
         FROM anchor.transactions x
         JOIN anchor.trees t USING (tree_id)
         JOIN anchor.submissions s ON s.tree_id = x.tree_id AND s.leaf_index = 0
         WHERE x.state <> 'final') AS open;
COMMENT ON VIEW anchor.waiting_roots IS
    'One row: how many roots are not final, and when the oldest of them was submitted, of each window its first.';

GRANT SELECT ON anchor.counted_windows, anchor.waiting_roots TO voketag_admin;
