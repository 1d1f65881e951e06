"""Factory accounts and their API keys.

A key is `vk_<prefix>_<secret>`. The secret follows from a root that only the server holds, so that the same request
gets the same answer, while the table keeps SHA-256 of it alone.
"""

import base64
import hashlib
import hmac
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from factory.attributes import check_name
from factory.store import Connection, Store
from factory.tenants import EVERY
from mesh import audit, idempotency
from mesh.clock import Clock, IdSource
from mesh.errors import ApiKeyNotFound, CredentialsInvalid, FactoryNotFound
from mesh.idempotency import RequestKey
from mesh.identity import Principal

HEADER = "x-api-key"
CACHE_SECONDS = 1.0
CACHED_KEYS = 4096
_SCHEME = "vk"
_PREFIX_LENGTH = 8
_SECRET_LENGTH = 43


@dataclass(frozen=True, slots=True)
class Factory:
    """An account; `name` is what consumers see."""

    factory_id: UUID
    name: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key without its secret."""

    key_id: UUID
    factory_id: UUID
    prefix: str
    created_at: datetime
    revoked_at: datetime | None


def secret_hash(secret: str) -> bytes:
    """What is kept of a secret: it has 256 bits, so one round is enough."""
    return hashlib.sha256(secret.encode()).digest()


class Accounts:
    """Opens accounts, issues and revokes keys."""

    def __init__(self, store: Store, *, root: bytes, new_id: IdSource) -> None:
        self._store = store
        self._root = root
        self._new_id = new_id

    async def create_factory(self, request: RequestKey, name: str) -> Factory:
        """Raises ValidationFailed, RequestIdReused."""
        check_name(name)
        async with self._store.transaction(EVERY) as connection:
            new = self._new_id()
            first = await idempotency.claim(connection, request, new)
            if first is not None:
                return await self._factory(connection, first)
            row = await self._store.sql.insert_factory(connection, factory_id=new, name=name)
            await audit.record(
                connection, resource=f"factory/{new}", request_id=request.request_id, detail={"name": name}
            )
            return Factory(**dict(row))

    async def create_key(self, request: RequestKey, factory_id: UUID) -> tuple[ApiKey, str]:
        """The key, and its whole text to be shown once. Raises FactoryNotFound, RequestIdReused."""
        async with self._store.transaction(factory_id) as connection:
            await self._factory(connection, factory_id)
            new = self._new_id()
            first = await idempotency.claim(connection, request, new)
            if first is not None:
                key = await self._key(connection, first)
                return key, self._text(key.key_id)
            row = await self._store.sql.insert_api_key(
                connection,
                key_id=new,
                factory_id=factory_id,
                prefix=self._prefix(new),
                secret_hash=secret_hash(self._secret(new)),
            )
            key = ApiKey(**dict(row))
            detail = {"factory_id": factory_id, "prefix": key.prefix}
            await audit.record(connection, resource=f"api_key/{new}", request_id=request.request_id, detail=detail)
            return key, self._text(new)

    async def revoke_key(self, request: RequestKey, key_id: UUID) -> ApiKey:
        """The key, ended; the caches of all processes forget it within a second. Raises ApiKeyNotFound."""
        async with self._store.transaction(EVERY) as connection:
            key = await self._key(connection, key_id)
            if await idempotency.claim(connection, request, key_id) is not None:
                return key
            row = await self._store.sql.revoke_api_key(connection, key_id=key_id)
            if row is None:
                audit.replayed()
                return await self._key(connection, key_id)
            detail = {"factory_id": key.factory_id, "prefix": key.prefix}
            await audit.record(connection, resource=f"api_key/{key_id}", request_id=request.request_id, detail=detail)
            return ApiKey(**dict(row))

    async def _factory(self, connection: Connection, factory_id: UUID) -> Factory:
        row = await self._store.sql.select_factory(connection, factory_id=factory_id)
        if row is None:
            raise FactoryNotFound(factory_id=factory_id)
        return Factory(**dict(row))

    async def _key(self, connection: Connection, key_id: UUID) -> ApiKey:
        row = await self._store.sql.select_api_key(connection, key_id=key_id)
        if row is None:
            raise ApiKeyNotFound(key_id=key_id)
        return ApiKey(**dict(row))

    def _text(self, key_id: UUID) -> str:
        return f"{_SCHEME}_{self._prefix(key_id)}_{self._secret(key_id)}"

    def _prefix(self, key_id: UUID) -> str:
        return base64.b32encode(self._derived(b"voketag/api-key-prefix/v1", key_id)).decode()[:_PREFIX_LENGTH].lower()

    def _secret(self, key_id: UUID) -> str:
        return base64.urlsafe_b64encode(self._derived(b"voketag/api-key/v1", key_id)).decode().rstrip("=")

    def _derived(self, purpose: bytes, key_id: UUID) -> bytes:
        return hmac.digest(self._root, purpose + key_id.bytes, "sha256")


class ApiKeyAuthenticator:
    """Knows a factory by its key in `x-api-key`; believes for a second what it looked up, so revocation acts soon."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._looked_up: OrderedDict[str, tuple[float, Any]] = OrderedDict()

    async def authenticate(self, metadata: Mapping[str, str]) -> Principal | None:
        """The factory; None without a key. Raises CredentialsInvalid, DependencyUnavailable."""
        text = metadata.get(HEADER)
        if text is None:
            return None
        scheme, prefix, secret = (*text.split("_", 2), "", "")[:3]
        if scheme != _SCHEME or len(prefix) != _PREFIX_LENGTH or len(secret) != _SECRET_LENGTH:
            raise CredentialsInvalid
        row = await self._credentials(prefix)
        # An unknown prefix costs the same hash and comparison.
        expected = bytes(32) if row is None else row["secret_hash"]
        if not hmac.compare_digest(secret_hash(secret), expected) or row is None:
            raise CredentialsInvalid
        return Principal("factory", str(row["factory_id"]), str(row["key_id"]))

    async def _credentials(self, prefix: str) -> Any:
        now = self._clock.monotonic()
        expires, row = self._looked_up.get(prefix, (0.0, None))
        if expires <= now:
            async with self._store.connection(EVERY) as connection:
                row = await self._store.sql.select_credentials(connection, prefix=prefix)
            self._looked_up[prefix] = (now + CACHE_SECONDS, row)
            self._looked_up.move_to_end(prefix)
            if len(self._looked_up) > CACHED_KEYS:
                self._looked_up.popitem(last=False)
        return row
