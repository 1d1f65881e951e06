-- What a factory is told of a week.

CREATE TABLE weekly_reports (
  report_id uuid PRIMARY KEY,
  factory_id uuid NOT NULL,
  week date NOT NULL CHECK (extract(isodow FROM week) = 1),
  language text NOT NULL,
  state text NOT NULL DEFAULT 'WAITING' CHECK (state IN ('WAITING', 'DONE', 'FAILED')),
  pdf_file uuid REFERENCES files ON DELETE SET NULL,
  xlsx_file uuid REFERENCES files ON DELETE SET NULL,
  created_at timestamptz NOT NULL DEFAULT now(),
  finished_at timestamptz,
  UNIQUE (factory_id, week, language)
);
CREATE INDEX weekly_reports_pdf ON weekly_reports (pdf_file);
CREATE INDEX weekly_reports_xlsx ON weekly_reports (xlsx_file);
COMMENT ON COLUMN weekly_reports.week IS 'The Monday that it begins with (UTC).';

GRANT SELECT, INSERT, UPDATE ON weekly_reports TO voketag_admin;
