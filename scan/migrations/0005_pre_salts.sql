-- The salts of the days. They are all that ties the names of devices and addresses in scan.events to anybody.
CREATE TABLE salts (
  day date PRIMARY KEY,
  salt bytea NOT NULL CHECK (octet_length(salt) = 32)
);
COMMENT ON TABLE salts IS 'Destroyed two midnights after the day begins. Backups must leave this table out.';

GRANT SELECT, INSERT, DELETE ON salts TO voketag_scan;
