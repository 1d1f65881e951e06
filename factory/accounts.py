"""Factory accounts and their API keys.

A key is `vk_<prefix>_<secret>`. The secret follows from a root that only the server holds, so that the same request
gets the same answer, while the table keeps SHA-256 of it alone.
"""

import base64
import hmac
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from factory.attributes import check_name
from factory.store import Connection, Store
from factory.tenants import EVERY
from mesh import audit, idempotency
from mesh.api_keys import PREFIX_LENGTH, SCHEME, Credentials, secret_hash
from mesh.clock import IdSource
from mesh.errors import ApiKeyNotFound, FactoryNotFound
from mesh.idempotency import RequestKey


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
        return f"{SCHEME}_{self._prefix(key_id)}_{self._secret(key_id)}"

    def _prefix(self, key_id: UUID) -> str:
        return base64.b32encode(self._derived(b"voketag/api-key-prefix/v1", key_id)).decode()[:PREFIX_LENGTH].lower()

    def _secret(self, key_id: UUID) -> str:
        return base64.urlsafe_b64encode(self._derived(b"voketag/api-key/v1", key_id)).decode().rstrip("=")

    def _derived(self, purpose: bytes, key_id: UUID) -> bytes:
        return hmac.digest(self._root, purpose + key_id.bytes, "sha256")


class Keys:
    """Finds keys, for whoever authenticates."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def find(self, prefix: str) -> Credentials | None:
        """See mesh.api_keys.Find."""
        async with self._store.connection(EVERY) as connection:
            row = await self._store.sql.select_credentials(connection, prefix=prefix)
        return None if row is None else Credentials(**dict(row))
