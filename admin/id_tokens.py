"""ID tokens (OpenID Connect Core 1.0, section 3.1.3.7): the keys they are signed under, and whether one holds."""

import base64
import hashlib
import hmac
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import jwt

LEEWAY = timedelta(seconds=60)
ALGORITHMS: dict[Any, str] = {("RSA", None): "RS256", ("EC", "P-256"): "ES256", ("OKP", "Ed25519"): "EdDSA"}
"""The key decides the algorithm, whatever a token says: no `none`, and no HMAC under a public key."""
DIGESTS = {"RS256": hashlib.sha256, "ES256": hashlib.sha256, "EdDSA": hashlib.sha512}
RSA_BITS = 2048
LONGEST_SUBJECT, LONGEST_EMAIL = 255, 254
LATEST = 2**53
"""Seconds; beyond it numbers are no longer whole in JSON, and infinity is beyond it."""


class TokenRefusedError(Exception):
    """The token does not hold; the message says why, for the log."""


class UnknownKeyError(TokenRefusedError):
    """It is signed under a key that is not known, which may be a new one."""


@dataclass(frozen=True, slots=True)
class Key:
    """A public key of a provider; `kid` is '' where it has none."""

    kid: str
    algorithm: str
    key: jwt.PyJWK


@dataclass(frozen=True, slots=True)
class Expected:
    """What a token has to say: whose it is, for whom, and to which login and access token it belongs."""

    issuer: str
    client_id: str
    nonce: str
    access_token: str


@dataclass(frozen=True, slots=True)
class Proved:
    """Whom a token proves.

    `email` is None unless the provider verified it. `silent`: the token leaves it out, or whether it was.
    """

    subject: str
    email: str | None
    silent: bool


def public_keys(jwks: Mapping[str, Any]) -> tuple[Key, ...]:
    """The keys of a JWKS document (RFC 7517) that are of use here; others, and broken ones, are passed over."""
    listed = jwks.get("keys")
    return tuple(key for item in (listed if isinstance(listed, list) else []) if (key := _key(item)) is not None)


def _key(item: Any) -> Key | None:
    if not isinstance(item, dict) or "d" in item or item.get("use", "sig") != "sig":
        return None
    try:
        algorithm = ALGORITHMS[item.get("kty"), item.get("crv")]
        if item.get("alg", algorithm) != algorithm:
            return None
        key = jwt.PyJWK(item, algorithm)
    except (jwt.PyJWTError, KeyError, ValueError, TypeError):
        return None
    if algorithm == "RS256" and key.key.key_size < RSA_BITS:
        return None
    kid = item.get("kid", "")
    return Key(kid, algorithm, key) if isinstance(kid, str) else None


def proved(token: str, keys: Iterable[Key], expected: Expected, *, now: float) -> Proved:
    """Whom a token proves at `now`, in seconds since 1970. Raises TokenRefusedError, UnknownKeyError."""
    try:
        header = jwt.get_unverified_header(token)
        key = _signer(header, keys)
        claims: dict[str, Any] = jwt.decode(
            token,
            key.key,
            algorithms=[key.algorithm],
            audience=expected.client_id,
            issuer=expected.issuer,
            options={
                "require": ["exp", "iat", "iss", "aud", "sub"],
                "verify_exp": False,
                "verify_iat": False,
                "verify_nbf": False,
            },
        )
    except (jwt.PyJWTError, ValueError, TypeError, RecursionError) as error:
        raise TokenRefusedError(type(error).__name__) from None
    _check_time(claims, now)
    _check_party(claims, expected)
    _check_access_token(claims, key, expected.access_token)
    silent = "email" not in claims or "email_verified" not in claims
    return Proved(_subject(claims), verified_email(claims), silent)


def _signer(header: Mapping[str, Any], keys: Iterable[Key]) -> Key:
    algorithm, kid = header.get("alg"), header.get("kid")
    if algorithm not in DIGESTS or "crit" in header:
        raise TokenRefusedError("its algorithm is none of ours")
    fitting = [key for key in keys if key.algorithm == algorithm and kid in (None, key.kid)]
    if len(fitting) != 1:
        raise UnknownKeyError("its key is not known")
    return fitting[0]


def _check_time(claims: Mapping[str, Any], now: float) -> None:
    leeway = LEEWAY.total_seconds()
    if not (_moment(claims, "iat") - leeway <= now < _moment(claims, "exp") + leeway):
        raise TokenRefusedError("it is expired, or of the future")
    if "nbf" in claims and now < _moment(claims, "nbf") - leeway:
        raise TokenRefusedError("it is of the future")


def _moment(claims: Mapping[str, Any], name: str) -> float:
    value = claims[name]
    if isinstance(value, bool) or not isinstance(value, int | float) or not -LATEST <= value <= LATEST:
        raise TokenRefusedError(f"{name} is no time")
    return float(value)


def _check_party(claims: Mapping[str, Any], expected: Expected) -> None:
    audience = claims["aud"]
    alone = audience in (expected.client_id, [expected.client_id])
    if claims.get("azp", expected.client_id if alone else None) != expected.client_id:
        raise TokenRefusedError("it was issued to another client")
    nonce = claims.get("nonce")
    if not isinstance(nonce, str) or not nonce.isascii() or not hmac.compare_digest(nonce, expected.nonce):
        raise TokenRefusedError("it belongs to another login")


def _check_access_token(claims: Mapping[str, Any], key: Key, access_token: str) -> None:
    """Of `at_hash` (3.1.3.6), where there is one."""
    if "at_hash" not in claims:
        return
    digest = DIGESTS[key.algorithm](access_token.encode()).digest()
    half = base64.urlsafe_b64encode(digest[: len(digest) // 2]).rstrip(b"=").decode()
    if claims["at_hash"] != half:
        raise TokenRefusedError("it belongs to another access token")


def _subject(claims: Mapping[str, Any]) -> str:
    subject = claims["sub"]
    if not _is_text(subject, LONGEST_SUBJECT):
        raise TokenRefusedError("sub is none")
    return str(subject)


def verified_email(claims: Mapping[str, Any]) -> str | None:
    """Of an ID token or UserInfo.

    Only `true` itself says that it was verified: what people typed at the provider proves nothing.
    """
    email = claims.get("email")
    return str(email) if claims.get("email_verified") is True and _is_text(email, LONGEST_EMAIL) else None


def _is_text(value: object, longest: int) -> bool:
    return isinstance(value, str) and 0 < len(value) <= longest and value.isascii() and value.isprintable()
