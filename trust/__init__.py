"""What a stranger needs to check VokeTag: tokens, Merkle trees, receipts, the scan ledger.

Pure: the standard library and `cryptography` only; no server of VokeTag is asked for anything.
"""
