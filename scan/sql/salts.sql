-- name: make_salts(days, salts)!
-- Whoever is first makes a day's salt; the others use it.
INSERT INTO scan.salts (day, salt)
SELECT day, salt FROM unnest(:days::date[], :salts::bytea[]) AS made (day, salt)
ON CONFLICT (day) DO NOTHING;

-- name: destroy_salts(before)!
-- From here on the names of those days mean nothing to anybody.
DELETE FROM scan.salts WHERE day < :before;

-- name: select_salts()
-- All there are: two or three.
SELECT day, salt FROM scan.salts;
