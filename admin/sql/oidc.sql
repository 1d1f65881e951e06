-- name: insert_oidc_login(state_hash, secret_hash, provider, expires_at)!
-- A login that has begun; hashes alone are kept: whoever reads this table can complete none.
INSERT INTO oidc_logins (state_hash, secret_hash, provider, expires_at)
VALUES (:state_hash, :secret_hash, :provider, :expires_at);

-- name: take_oidc_login(state_hash, secret_hash, provider, now)$
-- Of several at once one gets the row, and asks the provider.
UPDATE oidc_logins SET taken = true
WHERE state_hash = :state_hash AND secret_hash = :secret_hash AND provider = :provider AND expires_at > :now AND NOT taken
RETURNING true;

-- name: prove_oidc_login(state_hash, subject, email)!
-- Whom the provider proved: the code is used up, and a second factor may be asked for yet.
UPDATE oidc_logins SET subject = :subject, email = :email WHERE state_hash = :state_hash;

-- name: select_proved(state_hash, secret_hash, provider, now)^
-- Whom the provider proved to this client.
SELECT subject, email FROM oidc_logins
WHERE state_hash = :state_hash AND secret_hash = :secret_hash AND provider = :provider AND expires_at > :now
  AND subject IS NOT NULL;

-- name: drop_proved(state_hash, secret_hash, provider, now)^
-- It is completed; of several at once one gets the row.
DELETE FROM oidc_logins
WHERE state_hash = :state_hash AND secret_hash = :secret_hash AND provider = :provider AND expires_at > :now
  AND subject IS NOT NULL
RETURNING subject, email;

-- name: forget_oidc_logins(before)!
-- Logins that nobody can complete any more.
DELETE FROM oidc_logins WHERE expires_at < :before;

-- name: is_linked(issuer, subject)$
-- Whether the subject is anybody here.
SELECT EXISTS (SELECT FROM oidc_links WHERE issuer = :issuer AND subject = :subject);

-- name: lock_linked(issuer, subject)^
-- Who is linked, let in or not; held for the transaction.
SELECT u.user_id, u.email, u.name, u.role, u.factory_id, u.state, u.created_at, u.updated_at
FROM oidc_links JOIN users u USING (user_id) WHERE issuer = :issuer AND subject = :subject FOR UPDATE OF u;

-- name: link_by_email(issuer, subject, email, now)$
-- Links an active person; not one who is linked to the issuer as somebody else: emails pass to other people.
INSERT INTO oidc_links (issuer, subject, user_id, created_at)
SELECT :issuer, :subject, user_id, :now FROM users WHERE email = :email AND state = 'active'
ON CONFLICT DO NOTHING RETURNING user_id;

-- name: insert_link(issuer, subject, user_id, now)$
-- A link; no row when the person or the subject has one.
INSERT INTO oidc_links (issuer, subject, user_id, created_at) VALUES (:issuer, :subject, :user_id, :now)
ON CONFLICT DO NOTHING RETURNING user_id;

-- name: select_links(user_id)
-- All links of a person.
SELECT issuer, subject, created_at FROM oidc_links WHERE user_id = :user_id ORDER BY issuer;

-- name: drop_link(user_id, issuer)$
-- No row when there was none.
DELETE FROM oidc_links WHERE user_id = :user_id AND issuer = :issuer RETURNING user_id;

-- name: drop_links(user_id)!
-- Whoever is forgotten is known nowhere.
DELETE FROM oidc_links WHERE user_id = :user_id;
