"""Verdicts on scanned codes, and the proofs behind them.

Callers: anyone and factories, through the edge; admin. Peers it calls: anchor (GetProof, SubmitRoot) and, from the
journal alone, factory (RaiseFraudSuspected).
Tables in its schema `scan`: the journal of scans (docs/journal.md) and their ledger (docs/ledger.md), suspicions,
salts, fraud_reports, report_contacts, rulings, top_products and top_floors, idempotency, audit; it reads the views
`factory.product_cards`, `factory.batch_owners` and `factory.api_key_credentials`. In Valkey it owns `scan:*`.
Secrets: the keyring, its password for PostgreSQL, Valkey's password; of the journal its service key and the ledger's.
"""
