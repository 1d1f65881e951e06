"""Signatures of webhooks, and the keys they are made under (Standard Webhooks 1.0).

The keys follow from a root secret, the endpoint's id and a version, so that none of them is ever stored.
"""

import base64
import hmac
from collections.abc import Iterable
from dataclasses import dataclass
from uuid import UUID

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

SECRET_PREFIX, PUBLIC_PREFIX = "whsec_", "whpk_"
SYMMETRIC, ASYMMETRIC = "v1", "v1a"


@dataclass(frozen=True, slots=True)
class SigningKeys:
    """Both keys of one version: 32 bytes for HMAC-SHA256, and the 32 of an Ed25519 private key (RFC 8032)."""

    secret: bytes
    seed: bytes

    @property
    def secret_text(self) -> str:
        """The secret as receivers configure it."""
        return SECRET_PREFIX + _base64(self.secret)

    @property
    def public_text(self) -> str:
        """The public key as receivers configure it."""
        public = Ed25519PrivateKey.from_private_bytes(self.seed).public_key()
        return PUBLIC_PREFIX + _base64(public.public_bytes(Encoding.Raw, PublicFormat.Raw))

    def signatures(self, content: bytes) -> list[str]:
        """Each signature with its identifier."""
        mac = hmac.digest(self.secret, content, "sha256")
        signature = Ed25519PrivateKey.from_private_bytes(self.seed).sign(content)
        return [f"{SYMMETRIC},{_base64(mac)}", f"{ASYMMETRIC},{_base64(signature)}"]


class RootKey:
    """Makes the keys of endpoints out of at least 32 secret bytes."""

    def __init__(self, root: bytes) -> None:
        self._root = root

    def keys(self, endpoint_id: UUID, version: int) -> SigningKeys:
        """The keys of a version of an endpoint's secret."""
        whose = endpoint_id.bytes + version.to_bytes(4)
        return SigningKeys(
            hmac.digest(self._root, b"voketag/webhook-secret/v1" + whose, "sha256"),
            hmac.digest(self._root, b"voketag/webhook-ed25519/v1" + whose, "sha256"),
        )


def headers(keys: Iterable[SigningKeys], event_id: UUID, timestamp: int, body: bytes) -> dict[str, str]:
    """The three headers of a delivery, signed under each of the keys; `timestamp` in seconds since the epoch."""
    content = f"{event_id}.{timestamp}.".encode() + body
    return {
        "webhook-id": str(event_id),
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(text for key in keys for text in key.signatures(content)),
    }


def _base64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()
