-- name: insert_session(session_id, user_id, created_at, expires_at, address_prefix)!
-- A session, from a login to its end.
INSERT INTO sessions (session_id, user_id, created_at, expires_at, address_prefix)
VALUES (:session_id, :user_id, :created_at, :expires_at, :address_prefix);

-- name: insert_refresh_token(token_hash, session_id)!
-- The hash alone is kept: whoever reads this table cannot refresh.
INSERT INTO refresh_tokens (token_hash, session_id) VALUES (:token_hash, :session_id);

-- name: use_refresh_token(token_hash, now)$
-- Of several at once one gets the row: the others wait for it and find it used.
UPDATE refresh_tokens SET used_at = :now WHERE token_hash = :token_hash AND used_at IS NULL RETURNING session_id;

-- name: select_token_session(token_hash)$
-- The session of a token, used or not.
SELECT session_id FROM refresh_tokens WHERE token_hash = :token_hash;

-- name: lock_session(session_id, now)^
-- A session that goes on, with its person as they are now; whoever ends it waits or is seen.
SELECT s.expires_at, u.user_id, u.email, u.name, u.role, u.factory_id, u.state, u.created_at, u.updated_at
FROM sessions s JOIN users u USING (user_id)
WHERE session_id = :session_id AND ended_at IS NULL AND expires_at > :now AND u.state = 'active' FOR UPDATE OF s;

-- name: end_session(session_id, now)^
-- Whose session it was; no row when it had ended.
UPDATE sessions SET ended_at = :now FROM users
WHERE session_id = :session_id AND ended_at IS NULL AND users.user_id = sessions.user_id
RETURNING users.user_id, users.role;

-- name: end_sessions(user_id, now)!
-- All sessions of a person.
UPDATE sessions SET ended_at = :now WHERE user_id = :user_id AND ended_at IS NULL;

-- name: forget_sessions(before)!
-- Sessions that are over, with their tokens.
DELETE FROM sessions WHERE expires_at < :before;
