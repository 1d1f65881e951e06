"""What a stranger needs to check VokeTag: tokens, Merkle trees, receipts.

Pure: the standard library and `cryptography` only; no server of VokeTag is asked for anything.
"""
