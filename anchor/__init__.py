"""Anchoring of Merkle roots on an EVM chain: many roots, one tree, one transaction a window.

Called by: factory (SubmitRoot, WatchFinality), scan (SubmitRoot), anyone (GetAnchor, WatchAnchor, GetProof).
Owns: the schema `anchor`: submissions, trees, tiles, transactions, attempts, lease, idempotency, audit.
Holds: its service key and its database password; the submitter process alone also the chain key.
"""
