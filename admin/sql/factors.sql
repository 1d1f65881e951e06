-- name: enrol_factor(user_id, nonce)$
-- A factor to be confirmed, in the place of one that never was; no row when one counts.
INSERT INTO second_factors AS f (user_id, nonce) VALUES (:user_id, :nonce)
ON CONFLICT (user_id) DO UPDATE SET nonce = :nonce, last_step = 0 WHERE NOT f.confirmed
RETURNING user_id;

-- name: lock_factor(user_id)^
-- A person's factor, held so that a code is looked at once.
SELECT nonce, confirmed, last_step, recovery FROM second_factors WHERE user_id = :user_id FOR UPDATE;

-- name: has_factor(user_id)$
-- Whether a person's factor counts.
SELECT EXISTS (SELECT FROM second_factors WHERE user_id = :user_id AND confirmed);

-- name: confirm_factor(user_id, step, recovery)!
-- From now on it counts; hashes alone are kept of recovery codes.
UPDATE second_factors SET confirmed = true, last_step = :step, recovery = :recovery WHERE user_id = :user_id;

-- name: use_step(user_id, step)!
-- No code of this step or before is good again.
UPDATE second_factors SET last_step = :step WHERE user_id = :user_id;

-- name: use_recovery(user_id, code_hash)!
-- A recovery code is gone.
UPDATE second_factors SET recovery = array_remove(recovery, :code_hash) WHERE user_id = :user_id;

-- name: drop_factor(user_id)!
-- The person's factor is forgotten.
DELETE FROM second_factors WHERE user_id = :user_id;
