"""Keys and access tokens of people, good ones and any other."""

import base64
import hmac
import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

KEY = Ed25519PrivateKey.generate()
OLD_KEY = Ed25519PrivateKey.generate()
SOMEBODY = "0190c8a0-0000-7000-8000-00000000000a"


def raw_public(key: Ed25519PrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)


def jwk(kid: str, key: Ed25519PrivateKey) -> dict[str, str]:
    x = base64.urlsafe_b64encode(raw_public(key)).decode().rstrip("=")
    return {"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "kid": kid, "x": x}


def forged_hmac(token: str, secret: bytes) -> str:
    """The claims of a token under HS256, by hand, since the library refuses such keys."""
    header = json.dumps({"alg": "HS256", "typ": "at+jwt", "kid": "user-2"}).encode()
    signed = base64.urlsafe_b64encode(header).rstrip(b"=") + b"." + token.split(".")[1].encode()
    return (signed + b"." + base64.urlsafe_b64encode(hmac.digest(secret, signed, "sha256")).rstrip(b"=")).decode()


JWKS = json.dumps({"keys": [jwk("user-2", KEY), jwk("user-1", OLD_KEY)]})


def access_token(
    role: object = "admin",
    *,
    at: datetime | None = None,
    kid: str | None = "user-2",
    alg: str = "EdDSA",
    key: Any = KEY,
    typ: str = "at+jwt",
    **changes: Any,
) -> str:
    """A token issued `at`, now unless said; `changes` replace claims, None takes one out."""
    issued = at or datetime.now(UTC)
    claims: dict[str, Any] = {
        "iss": "voketag-admin",
        "aud": "voketag",
        "iat": issued,
        "exp": issued + timedelta(minutes=10),
        "sub": SOMEBODY,
        "role": role,
        "factory": str(UUID(int=2)) if str(role).startswith("factory_") else None,
    }
    claims = {name: value for name, value in (claims | changes).items() if value is not None}
    headers = {"typ": typ} | ({"kid": kid} if kid else {})
    return jwt.encode(claims, key, alg, headers=headers)
