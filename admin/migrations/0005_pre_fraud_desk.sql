-- Who works on a case of fraud reports, and what staff say of it. The case itself is scan's.
CREATE TABLE case_assignees (
  case_id uuid PRIMARY KEY,
  assignee_id uuid REFERENCES users
);
CREATE INDEX case_assignees_by_person ON case_assignees (assignee_id, case_id);
COMMENT ON COLUMN case_assignees.assignee_id IS 'NULL when it was taken from somebody and given to nobody.';

CREATE TABLE case_notes (
  note_id uuid PRIMARY KEY,
  case_id uuid NOT NULL,
  author_id uuid NOT NULL REFERENCES users,
  text text NOT NULL CHECK (char_length(text) BETWEEN 1 AND 2000),
  noted_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX case_notes_by_case ON case_notes (case_id, note_id);

GRANT SELECT, INSERT, UPDATE (assignee_id) ON case_assignees TO voketag_admin;
GRANT SELECT, INSERT ON case_notes TO voketag_admin;
