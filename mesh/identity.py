"""Who is calling, and how services prove who they are: short-lived Ed25519 JWTs (RFC 7519, RFC 8037)."""

import json
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import timedelta
from socket import AF_INET, AF_INET6, inet_ntop, inet_pton
from typing import Any, Literal, Protocol
from urllib.parse import unquote
from uuid import UUID

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from mesh.clock import Clock
from mesh.errors import CredentialsInvalid

ALGORITHM = "EdDSA"
CLIENT_ADDRESS = "x-client-address"
LIFETIME = timedelta(seconds=60)
LEEWAY = timedelta(seconds=5)
USER_TOKEN_TYPE = "at+jwt"  # noqa: S105 - RFC 9068, 2.1; it keeps people's tokens and services' apart


@dataclass(frozen=True, slots=True)
class Principal:
    """A caller whose identity is proved; `roles` and `factory_id` are a person's, an operator works on the machine."""

    kind: Literal["public", "factory", "service", "user", "operator"]
    id: str
    key_id: str | None = None
    roles: frozenset[str] = frozenset()
    factory_id: UUID | None = None

    @property
    def uuid(self) -> UUID:
        """The id of a factory or a person."""
        return UUID(self.id)

    @property
    def tenant(self) -> UUID:
        """The factory that calls, or the one that a manager or operator is of."""
        if self.kind == "factory":
            return self.uuid
        assert self.factory_id is not None, "the contract lets in nobody else"
        return self.factory_id

    def __str__(self) -> str:
        return f"{self.kind}:{self.id}"


PUBLIC = Principal("public", "")


class Call(Protocol):
    """A call's context, as far as it tells who calls."""

    def invocation_metadata(self) -> Any:
        """Pairs of a key and a text; bytes for keys in `-bin`."""
        ...


_metadata: ContextVar[tuple[Call | None, Mapping[str, str]]] = ContextVar("metadata", default=(None, {}))
_caller: ContextVar[Principal] = ContextVar("caller", default=PUBLIC)
_address: ContextVar[str] = ContextVar("address", default="")


def caller() -> Principal:
    """The caller of the call under way."""
    return _caller.get()


def set_caller(principal: Principal) -> None:
    """Says who calls; for the access interceptor."""
    _caller.set(principal)


def address() -> str:
    """The address prefix that the call under way comes from; '' outside of calls."""
    return _address.get()


def set_address(prefix: str) -> None:
    """Says where the call comes from; for the limits interceptor."""
    _address.set(prefix)


def metadata_of(call: Call) -> Mapping[str, str]:
    """The metadata of the call under way, by key; made once a call, for gRPC makes it anew whenever it is asked."""
    known, metadata = _metadata.get()
    if known is not call:
        metadata = dict(call.invocation_metadata() or ())
        _metadata.set((call, metadata))
    return metadata


def client_address(metadata: Mapping[str, str], peer: str) -> str:
    """The caller's IP address: what the edge wrote into `x-client-address`, else gRPC's `ipv4:1.2.3.4:5`."""
    return metadata.get(CLIENT_ADDRESS) or peer_address(peer)


def peer_address(peer: str) -> str:
    """The IP address in gRPC's `ipv4:1.2.3.4:5` or `ipv6:%5B::1%5D:5`; '' if there is none."""
    return unquote(peer.partition(":")[2].rpartition(":")[0]).strip("[]")


def address_prefix(address: str) -> str:
    """The /24 or /48 that an address is in, so that it names a neighbourhood and not a person; '' if it is none."""
    try:
        if ":" in address:
            return inet_ntop(AF_INET6, inet_pton(AF_INET6, address)[:6] + bytes(10)) + "/48"
        host = inet_pton(AF_INET, address)
    except (OSError, ValueError):
        return ""
    return f"{host[0]}.{host[1]}.{host[2]}.0/24"


def token_type(token: str) -> str:
    """What the unverified header of a JWT says that it is; '' if nothing. Raises CredentialsInvalid if it is none."""
    try:
        return str(jwt.get_unverified_header(token).get("typ", "")).lower()
    except jwt.PyJWTError as error:
        raise CredentialsInvalid from error


class Authenticator(Protocol):
    """One way to prove an identity."""

    async def authenticate(self, metadata: Mapping[str, str]) -> Principal | None:
        """The caller; None when the metadata has no credentials of this kind. Raises CredentialsInvalid."""
        ...


class ServiceTokens:
    """Mints this service's tokens, one a target, anew when half of the lifetime has passed."""

    def __init__(self, service: str, private_key_pem: str, clock: Clock) -> None:
        key = load_pem_private_key(private_key_pem.encode(), password=None)
        if not isinstance(key, Ed25519PrivateKey):
            raise TypeError("the service key is not an Ed25519 key")
        self._service = service
        self._key = key
        self._clock = clock
        self._minted: dict[str, tuple[float, str]] = {}

    def token(self, target: str) -> str:
        """A JWT from this service to `target`, good for at least 30 s more."""
        now = self._clock.now()
        expires, text = self._minted.get(target, (0.0, ""))
        if expires - now.timestamp() < LIFETIME.total_seconds() / 2:
            expires = (now + LIFETIME).timestamp()
            claims = {"iss": self._service, "aud": target, "iat": int(now.timestamp()), "exp": int(expires)}
            text = jwt.encode(claims, self._key, ALGORITHM, headers={"kid": f"{self._service}-1"})
            self._minted[target] = (expires, text)
        return text


class ServiceAuthenticator:
    """Checks `authorization: Bearer <JWT>` against the mesh's JWKS; a key speaks for its own service (`svc`) alone."""

    def __init__(self, jwks: str, audience: str, clock: Clock) -> None:
        self._keys = {
            key["kid"]: (jwt.PyJWK(key, ALGORITHM), key["svc"])
            for key in json.loads(jwks)["keys"]
            if key["kty"] == "OKP"
        }
        self._audience = audience
        self._clock = clock
        self._checked: dict[str, tuple[float, Principal]] = {}

    async def authenticate(self, metadata: Mapping[str, str]) -> Principal | None:
        """The service that signed the token."""
        scheme, _, token = metadata.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            return None
        now = self._clock.now().timestamp()
        expires, principal = self._checked.get(token, (0.0, PUBLIC))
        if expires <= now:
            if token_type(token) == USER_TOKEN_TYPE:
                return None
            expires, principal = self._check(token, now)
            if len(self._checked) >= 256:
                self._checked.clear()
            self._checked[token] = (expires, principal)
        return principal

    def _check(self, token: str, now: float) -> tuple[float, Principal]:
        try:
            key, service = self._keys[jwt.get_unverified_header(token)["kid"]]
            claims: dict[str, Any] = jwt.decode(
                token,
                key,
                algorithms=[ALGORITHM],
                audience=self._audience,
                issuer=service,
                options={"require": ["exp", "iat", "iss", "aud"], "verify_exp": False, "verify_iat": False},
            )
        except (jwt.PyJWTError, KeyError) as error:
            raise CredentialsInvalid from error
        issued, expires = float(claims["iat"]), float(claims["exp"])
        leeway = LEEWAY.total_seconds()
        if not (issued - leeway <= now < expires + leeway) or expires - issued > LIFETIME.total_seconds():
            raise CredentialsInvalid
        return expires + leeway, Principal("service", service)
