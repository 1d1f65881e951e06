-- Ids are in submissions_pending until they have a leaf and in submissions_placed then; leaves in submissions_places.
ALTER TABLE anchor.submissions DROP CONSTRAINT submissions_pkey;
DROP INDEX anchor.submissions_leaves;
