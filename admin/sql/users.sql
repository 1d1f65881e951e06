-- name: insert_user(user_id, email, name, role, factory_id)^
-- A person without a password, who cannot log in yet.
INSERT INTO users (user_id, email, name, role, factory_id) VALUES (:user_id, :email, :name, :role, :factory_id)
RETURNING user_id, email, name, role, factory_id, state, created_at, updated_at;

-- name: select_user(user_id)^
-- One person, without what proves who they are.
SELECT user_id, email, name, role, factory_id, state, created_at, updated_at FROM users WHERE user_id = :user_id;

-- name: select_users(before, role, state, factory_id, email, page_size)
-- A page, newest first, by the primary key; the deleted ones only when asked for.
SELECT user_id, email, name, role, factory_id, state, created_at, updated_at FROM users
WHERE user_id < :before
  AND (:role::text IS NULL OR role = :role)
  AND CASE WHEN :state::text IS NULL THEN state <> 'deleted' ELSE state = :state END
  AND (:factory_id::uuid IS NULL OR factory_id = :factory_id)
  AND (:email::text IS NULL OR email = :email)
ORDER BY user_id DESC LIMIT :page_size;

-- name: update_user(user_id, email, name, role, factory_id, state)^
-- Everything that admins may change, at once; whoever is deleted loses their password with their name.
UPDATE users SET email = :email, name = :name, role = :role, factory_id = :factory_id, state = :state,
  password_hash = CASE WHEN :state = 'deleted' THEN NULL ELSE password_hash END, updated_at = now()
WHERE user_id = :user_id
RETURNING user_id, email, name, role, factory_id, state, created_at, updated_at;

-- name: lock_rights()$
-- Rights change one at a time, or two admins could take each other's away at once.
SELECT pg_advisory_xact_lock(hashtext('voketag admin rights'));

-- name: count_admins()$
-- How many admins there are who may log in.
SELECT count(*) FROM users WHERE role = 'admin' AND state = 'active';

-- name: select_credentials(email)^
-- What a presented password is held against; whoever has none, or is kept out, is as unknown as the rest.
SELECT user_id, password_hash FROM users WHERE email = :email AND state = 'active' AND password_hash IS NOT NULL;

-- name: select_password(user_id)^
-- The same by id.
SELECT user_id, email, name, password_hash FROM users
WHERE user_id = :user_id AND state = 'active' AND password_hash IS NOT NULL;

-- name: lock_proved(user_id, password_hash)^
-- The person whose password was checked, unless it changed or they were kept out meanwhile; held for the transaction.
SELECT user_id, email, name, role, factory_id, state, created_at, updated_at FROM users
WHERE user_id = :user_id AND password_hash = :password_hash AND state = 'active' FOR UPDATE;

-- name: set_password(user_id, password_hash)!
-- A password, hashed; it is no change of what admins see.
UPDATE users SET password_hash = :password_hash WHERE user_id = :user_id;

-- name: insert_reset(token_hash, user_id, created_at, expires_at)!
-- The hash alone is kept: whoever reads this table cannot reset.
INSERT INTO password_resets (token_hash, user_id, created_at, expires_at)
VALUES (:token_hash, :user_id, :created_at, :expires_at);

-- name: select_resettable(email, sent_before)^
-- Who gets a mail: an active person who was sent none just now.
SELECT user_id FROM users u WHERE email = :email AND state = 'active'
  AND NOT EXISTS (SELECT FROM password_resets r WHERE r.user_id = u.user_id AND r.created_at > :sent_before);

-- name: select_reset(token_hash, now)^
-- Whose token it is, before a password is hashed for it.
SELECT u.user_id, u.email, u.name FROM password_resets JOIN users u USING (user_id)
WHERE token_hash = :token_hash AND expires_at > :now AND state = 'active';

-- name: use_reset(token_hash, now)^
-- Of several at once one gets the row: the others wait for it and find none. A disabled person's token stays unused.
DELETE FROM password_resets r USING users u
WHERE token_hash = :token_hash AND expires_at > :now AND u.user_id = r.user_id AND u.state = 'active'
RETURNING r.user_id, u.role;

-- name: drop_resets(user_id)!
-- A password that was set takes the other tokens with it.
DELETE FROM password_resets WHERE user_id = :user_id;

-- name: forget_resets(before)!
-- Tokens that nobody can use any more.
DELETE FROM password_resets WHERE expires_at < :before;
