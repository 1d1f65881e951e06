"""Anchoring of Merkle roots on an EVM chain: many roots, one tree, one transaction a window.

Called by: factory (SubmitRoot, BatchSubmitRoots, WatchFinality), scan (SubmitRoot), admin (SubmitRoot), people (status,
lists; admins also freeze and retry), anyone (anchors, proofs, what the chain says of them).
Owns: the schema `anchor`: submissions, trees, tiles, stamps, transactions, attempts, lease, control, idempotency,
audit.
Holds: its service key, its database password and the URL of a node to read from; the submitter process alone also the
chain key, the stamper the URL of its time-stamp authority.
"""
