-- A submission is written twice, when its root comes and when its window closes, and each index that has it twice is left
-- half empty. So ids are in an index of their own once they have a leaf, as they are while they wait; and many leaves
-- share one entry. With many rows, make both indexes CONCURRENTLY beforehand.

CREATE UNIQUE INDEX IF NOT EXISTS submissions_placed ON anchor.submissions (submission_id) WHERE tree_id IS NOT NULL;
CREATE INDEX IF NOT EXISTS submissions_places ON anchor.submissions (tree_id, (leaf_index >> 8))
    WHERE tree_id IS NOT NULL;

-- Subjects' ids grow with time too. A leaf page that is filled as far has room for the second entries of its rows.
ALTER INDEX anchor.submissions_subject_id_kind_key SET (fillfactor = 60);

-- What the first versions of rows leave is used again for the next rows.
ALTER TABLE anchor.submissions SET (autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_scale_factor = 0.03);

-- As it was; a leaf is found by the 256 that it is among.
CREATE OR REPLACE VIEW anchor.waiting_roots AS
    SELECT pending.roots + open.roots AS roots, least(pending.oldest_at, open.oldest_at) AS oldest_at
    FROM (SELECT count(*) AS roots, min(created_at) AS oldest_at FROM anchor.submissions WHERE tree_id IS NULL) AS pending,
        (SELECT coalesce(sum(t.size), 0)::bigint AS roots, min(s.created_at) AS oldest_at
         FROM anchor.trees t
         JOIN anchor.submissions s ON s.tree_id = t.tree_id AND s.leaf_index >> 8 = 0 AND s.leaf_index = 0
         WHERE t.state <> 'final') AS open;
