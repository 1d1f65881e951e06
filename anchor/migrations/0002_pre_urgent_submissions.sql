-- Roots that wait for nobody: the window closes as soon as one is there.

ALTER TABLE anchor.submissions ADD COLUMN urgent boolean NOT NULL DEFAULT false;
CREATE INDEX submissions_urgent ON anchor.submissions (submission_id) WHERE tree_id IS NULL AND urgent;
