-- Who watches scans is told the factor that adds most to the risk; it follows from weights that may be the factory's own.
ALTER TABLE events ADD COLUMN leading_factor smallint;
COMMENT ON COLUMN events.leading_factor IS
  'The factor that adds most, as the contract numbers them; NULL when none adds anything, and for older rows.';
