"""Admin: people and their rights, and the log of what everybody changed. Called by people through the edge.

Owns the schema `admin`: users, sessions, refresh_tokens, password_resets, second_factors, login_failures, oidc_logins,
oidc_links, exports, files, file_pieces, weekly_reports, case_assignees, case_notes, the job queue, idempotency and
audit; audit_chain with its cursors, and the log's ledger, ledger_tiles, ledger_checkpoints and ledger_keys; and the
figures of `admin.rollups`. What others have it reads by the views that they publish to it. Calls anchor, to have the
log's checkpoints anchored, and scan, with what the fraud desk decides.

The server holds the keys of access tokens, the key of page tokens, the root of second factors, what the mail server
asks for, its service key, and the key that signs the audit log.
Operators work with factories, anchoring and fraud reports under the service key `admin`.
"""
