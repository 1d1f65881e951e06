"""Access tokens: the keys they are signed under, and how they are made. mesh.user_tokens checks them."""

import base64
import binascii
import json
from dataclasses import dataclass
from datetime import datetime

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from admin.users import User
from mesh.clock import Clock
from mesh.identity import ALGORITHM, USER_TOKEN_TYPE
from mesh.user_tokens import AUDIENCE, ISSUER, LIFETIME

STATES = ("coming", "signing", "retired")


@dataclass(frozen=True, slots=True)
class TokenKey:
    """A key by its name in tokens; it is `coming` before it signs and `retired` after."""

    kid: str
    private: Ed25519PrivateKey
    state: str

    @property
    def x(self) -> str:
        """The public key in base64url (RFC 8037)."""
        raw = self.private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


@dataclass(frozen=True, slots=True)
class TokenKeys:
    """All keys that somebody may meet: what stands here is published and believed, and one of it signs."""

    keys: tuple[TokenKey, ...]

    @classmethod
    def from_json(cls, text: str) -> "TokenKeys":
        """`{"keys": [{"kid": "user-1", "key": base64 of 32 bytes, "state": "signing"}]}`.

        Raises ValueError, which quotes no key.
        """
        try:
            keys = tuple(
                TokenKey(
                    str(item["kid"]),
                    Ed25519PrivateKey.from_private_bytes(base64.b64decode(item["key"], validate=True)),
                    str(item["state"]),
                )
                for item in json.loads(text)["keys"]
            )
        except (KeyError, TypeError, binascii.Error, ValueError):
            raise ValueError("are not keys: kid, key (base64 of 32 bytes) and state of each") from None
        if any(key.state not in STATES for key in keys) or len({key.kid for key in keys}) != len(keys):
            raise ValueError("have a state that there is not, or a kid twice")
        if [key.state for key in keys].count("signing") != 1:
            raise ValueError("must have exactly one that is signing")
        return cls(keys)

    @property
    def signing(self) -> TokenKey:
        """The key that new tokens are signed under."""
        return next(key for key in self.keys if key.state == "signing")

    def jwks(self) -> str:
        """The public keys as a JWKS document (RFC 7517)."""
        return json.dumps({"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": key.kid, "x": key.x} for key in self.keys]})


class AccessTokens:
    """Makes access tokens."""

    def __init__(self, keys: TokenKeys, clock: Clock) -> None:
        self._keys = keys
        self._clock = clock

    def token(self, user: User) -> tuple[str, datetime]:
        """A JWT that says who somebody is and in which role, and when it ends."""
        now = self._clock.now().replace(microsecond=0)
        claims = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "iat": int(now.timestamp()),
            "exp": int((now + LIFETIME).timestamp()),
            "sub": str(user.user_id),
            "role": user.role,
        }
        if user.factory_id is not None:
            claims["factory"] = str(user.factory_id)
        key = self._keys.signing
        headers = {"kid": key.kid, "typ": USER_TOKEN_TYPE}
        return jwt.encode(claims, key.private, ALGORITHM, headers=headers), now + LIFETIME
