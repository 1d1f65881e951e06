"""Access tokens of people: Ed25519 JWTs (RFC 7519, RFC 8037, RFC 9068) which live for ten minutes, unrevoked."""

import json
from collections.abc import Mapping
from datetime import timedelta
from typing import Any
from uuid import UUID

import jwt
from voketag.mesh.v1 import access_pb2

from mesh.clock import Clock
from mesh.errors import CredentialsInvalid
from mesh.identity import ALGORITHM, PUBLIC, USER_TOKEN_TYPE, Principal, token_type
from mesh.policy import role_name

ISSUER, AUDIENCE = "voketag-admin", "voketag"
LIFETIME = timedelta(minutes=10)
LEEWAY = timedelta(seconds=60)
ROLES = frozenset(map(role_name, access_pb2.Role.values())) - {"unspecified"}
FACTORY_ROLES = frozenset({"factory_manager", "factory_operator"})
CHECKED_TOKENS = 1024


class UserAuthenticator:
    """Checks `authorization: Bearer <JWT>` against the keys that people's tokens are signed under, of whatever age.

    `jwks` is a JWKS document; a rotation overlaps when both keys stand in it. Clocks may differ by LEEWAY.
    """

    def __init__(self, jwks: str, clock: Clock) -> None:
        self._keys = {key["kid"]: jwt.PyJWK(key, ALGORITHM) for key in json.loads(jwks)["keys"] if key["kty"] == "OKP"}
        self._clock = clock
        self._checked: dict[str, tuple[float, Principal]] = {}

    async def authenticate(self, metadata: Mapping[str, str]) -> Principal | None:
        """The person; None without a token of this type. Raises CredentialsInvalid."""
        scheme, _, token = metadata.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            return None
        now = self._clock.now().timestamp()
        expires, principal = self._checked.get(token, (0.0, PUBLIC))
        if expires <= now:
            if token_type(token) != USER_TOKEN_TYPE:
                return None
            expires, principal = self._check(token, now)
            if len(self._checked) >= CHECKED_TOKENS:
                self._checked.clear()
            self._checked[token] = (expires, principal)
        return principal

    def _check(self, token: str, now: float) -> tuple[float, Principal]:
        try:
            claims: dict[str, Any] = jwt.decode(
                token,
                self._keys[jwt.get_unverified_header(token)["kid"]],
                algorithms=[ALGORITHM],
                audience=AUDIENCE,
                issuer=ISSUER,
                options={"require": ["exp", "iat", "iss", "aud", "sub"], "verify_exp": False, "verify_iat": False},
            )
            issued, expires = float(claims["iat"]), float(claims["exp"])
            principal = _principal(claims)
        except (jwt.PyJWTError, KeyError, ValueError, TypeError) as error:
            raise CredentialsInvalid from error
        leeway = LEEWAY.total_seconds()
        if not (issued - leeway <= now < expires + leeway) or expires - issued > LIFETIME.total_seconds():
            raise CredentialsInvalid
        return expires + leeway, principal


def _principal(claims: Mapping[str, Any]) -> Principal:
    """Raises ValueError, TypeError or KeyError when the claims name no person."""
    role, factory = claims["role"], claims.get("factory")
    if role not in ROLES:
        raise ValueError(role)
    factory_id = None if factory is None else UUID(factory)
    # Whoever has no factory of their own reaches all: a manager of none must not pass for one of those.
    if (role in FACTORY_ROLES) != (factory_id is not None):
        raise ValueError(role)
    return Principal("user", str(UUID(claims["sub"])), roles=frozenset({role}), factory_id=factory_id)
