"""Keys of tests."""

from hashlib import sha256

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from trust.note import Signer

SERVICE_KEY = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def signer(origin: str) -> Signer:
    """The key of a ledger."""
    return Signer(origin, Ed25519PrivateKey.from_private_bytes(sha256(origin.encode()).digest()))
