"""What a stranger needs to check VokeTag: tokens, Merkle trees, receipts. Pure: stdlib and `cryptography` only."""
