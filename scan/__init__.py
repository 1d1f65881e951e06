"""Verdicts on scanned codes, and the proofs behind them.

Callers: anyone, through the edge. Peers it calls: anchor (GetProof, public).
Tables in its schema `scan`: the journal of scans (docs/journal.md) and their ledger (docs/ledger.md), salts,
fraud_reports, report_contacts, report_salts, idempotency, audit; it reads the view `factory.product_cards`. In
Valkey it owns `scan:*`.
Secrets: the keyring, its password for PostgreSQL, Valkey's password.
"""
