"""Verdicts on scanned codes, and the proofs behind them.

Callers: anyone, through the edge. Peers it calls: anchor (GetProof, public).
Tables: none yet in its schema `scan`; it reads the view `factory.product_cards`. In Valkey it owns `scan:*`.
Secrets: the keyring, its password for PostgreSQL, Valkey's password.
"""
