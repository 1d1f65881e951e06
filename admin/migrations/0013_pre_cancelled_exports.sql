-- Exports that were called off, and a person's exports by age.

ALTER TABLE exports
  DROP CONSTRAINT exports_state_check,
  ADD CONSTRAINT exports_state_check
    CHECK (state IN ('WAITING', 'RUNNING', 'DONE', 'FAILED', 'EXPIRED', 'CANCELLED'));
CREATE INDEX exports_person ON exports (user_id, export_id);
