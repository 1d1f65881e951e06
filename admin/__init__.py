"""Admin: people and their rights. Called by people through the edge.

Owns the schema `admin`: users, sessions, refresh_tokens, password_resets, second_factors, login_failures, exports,
files, file_pieces, the job queue, idempotency and audit; and the figures of `admin.rollups`. What others have it
reads by the views that they publish to it.

The server holds the keys of access tokens, the key of page tokens, the root of second factors, and what the mail server
asks for.
Operators work with factories, anchoring and fraud reports under the service key `admin`.
"""
