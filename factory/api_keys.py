"""API keys of factories: issued, listed, replaced, revoked.

A key is `vk_<prefix>_<secret>`. The secret follows from a root that only the server holds, so that the same request
gets the same answer, while the table keeps SHA-256 of it alone.
"""

import base64
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from factory.accounts import NEWEST, PAGE_SIZE, SUSPENDED
from factory.store import Connection, Store
from factory.tenants import EVERY, reach
from mesh import audit, idempotency
from mesh.api_keys import PREFIX_LENGTH, SCHEME, Credentials, secret_hash
from mesh.clock import IdSource
from mesh.errors import ApiKeyEnded, ApiKeyNotFound, FactoryNotFound, FactorySuspended
from mesh.idempotency import RequestKey
from mesh.identity import Principal
from mesh.paging import PageTokens


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key without its secret; `successor_id` took its place, and it ends at `expires_at`."""

    key_id: UUID
    factory_id: UUID
    prefix: str
    created_at: datetime
    revoked_at: datetime | None
    expires_at: datetime | None
    successor_id: UUID | None


class ApiKeys:
    """Issues and ends keys. Whoever has a factory of their own reaches its keys alone.

    What ends a key acts when it is committed: every process believes for a second what it looked up.
    """

    def __init__(self, store: Store, pages: PageTokens, *, root: bytes, new_id: IdSource) -> None:
        self._store = store
        self._pages = pages
        self._root = root
        self._new_id = new_id

    async def create(self, actor: Principal, request: RequestKey, factory_id: UUID) -> tuple[ApiKey, str]:
        """The key, and its whole text to be shown once. Raises FactoryNotFound, FactorySuspended, RequestIdReused."""
        async with self._store.transaction(reach(actor)) as connection:
            await self._check_factory(connection, actor, factory_id)
            new = self._new_id()
            first = await idempotency.claim(connection, request, new)
            if first is not None:
                return await self._key(connection, actor, first), self._text(first)
            await self._require_active(connection, factory_id)
            key = await self._issue(connection, factory_id, new)
            await _record(connection, request, key, {"factory_id": factory_id, "prefix": key.prefix})
            return key, self._text(new)

    async def rotate(
        self, actor: Principal, request: RequestKey, key_id: UUID, overlap: timedelta
    ) -> tuple[ApiKey, str, ApiKey]:
        """The new key, its whole text, and the old one, which goes on for `overlap`.

        Raises ApiKeyNotFound, ApiKeyEnded, FactorySuspended, RequestIdReused.
        """
        async with self._store.transaction(reach(actor)) as connection:
            old = await self._key(connection, actor, key_id)
            new = self._new_id()
            first = await idempotency.claim(connection, request, new)
            if first is not None:
                return await self._key(connection, actor, first), self._text(first), old
            await self._require_active(connection, old.factory_id)
            row = await self._store.sql.replace_api_key(connection, key_id=key_id, successor_id=new, overlap=overlap)
            if row is None:
                raise ApiKeyEnded(key_id=key_id)
            replaced, key = _to_key(row), await self._issue(connection, old.factory_id, new)
            detail = {"factory_id": key.factory_id, "prefix": key.prefix, "replaces": key_id}
            await _record(connection, request, key, detail)
            changed = {
                "successor_id": audit.change(None, new),
                "expires_at": audit.change(old.expires_at, replaced.expires_at),
            }
            await _record(connection, request, replaced, changed)
            return key, self._text(new), replaced

    async def revoke(self, actor: Principal, request: RequestKey, key_id: UUID) -> ApiKey:
        """The key, ended. Raises ApiKeyNotFound, RequestIdReused."""
        async with self._store.transaction(reach(actor)) as connection:
            key = await self._key(connection, actor, key_id)
            if await idempotency.claim(connection, request, key_id) is not None:
                return key
            row = await self._store.sql.revoke_api_key(connection, key_id=key_id)
            if row is None:
                audit.replayed()
                return key
            revoked = _to_key(row)
            ended = audit.change(None, revoked.revoked_at)
            changed = {"factory_id": key.factory_id, "prefix": key.prefix, "revoked_at": ended}
            await _record(connection, request, revoked, changed)
            return revoked

    async def list(
        self, actor: Principal, factory_id: UUID, *, ended: bool, page_size: int, page_token: str
    ) -> tuple[list[ApiKey], str]:
        """A page of at most `page_size`, 0 meaning 100, and the token of the next.

        Raises FactoryNotFound, PageTokenInvalid.
        """
        scope = f"api_keys:{actor}:{factory_id}:{ended}"
        before = UUID(self._pages.decode(page_token, scope=scope)) if page_token else NEWEST
        size = page_size or PAGE_SIZE
        async with self._store.connection(reach(actor)) as connection:
            await self._check_factory(connection, actor, factory_id)
            rows = self._store.sql.select_api_keys(
                connection, factory_id=factory_id, before=before, ended=ended, page_size=size + 1
            )
            found = [_to_key(row) async for row in rows]
        more = self._pages.encode(str(found[size - 1].key_id), scope=scope) if len(found) > size else ""
        return found[:size], more

    async def _issue(self, connection: Connection, factory_id: UUID, new: UUID) -> ApiKey:
        secret = secret_hash(self._secret(new))
        row = await self._store.sql.insert_api_key(
            connection, key_id=new, factory_id=factory_id, prefix=self._prefix(new), secret_hash=secret
        )
        return _to_key(row)

    async def _check_factory(self, connection: Connection, actor: Principal, factory_id: UUID) -> None:
        row = await self._store.sql.select_factory(connection, factory_id=factory_id)
        if row is None or actor.factory_id not in (None, factory_id):
            raise FactoryNotFound(factory_id=factory_id)

    async def _require_active(self, connection: Connection, factory_id: UUID) -> None:
        row = await self._store.sql.select_factory(connection, factory_id=factory_id)
        if row["state"] == SUSPENDED:
            raise FactorySuspended(factory_id=factory_id)

    async def _key(self, connection: Connection, actor: Principal, key_id: UUID) -> ApiKey:
        row = await self._store.sql.lock_api_key(connection, key_id=key_id)
        if row is None or actor.factory_id not in (None, row["factory_id"]):
            raise ApiKeyNotFound(key_id=key_id)
        return _to_key(row)

    def _text(self, key_id: UUID) -> str:
        return f"{SCHEME}_{self._prefix(key_id)}_{self._secret(key_id)}"

    def _prefix(self, key_id: UUID) -> str:
        return base64.b32encode(self._derived(b"voketag/api-key-prefix/v1", key_id)).decode()[:PREFIX_LENGTH].lower()

    def _secret(self, key_id: UUID) -> str:
        return base64.urlsafe_b64encode(self._derived(b"voketag/api-key/v1", key_id)).decode().rstrip("=")

    def _derived(self, purpose: bytes, key_id: UUID) -> bytes:
        return hmac.digest(self._root, purpose + key_id.bytes, "sha256")


def _to_key(row: Any) -> ApiKey:
    return ApiKey(**dict(row))


async def _record(connection: Connection, request: RequestKey, key: ApiKey, detail: Mapping[str, object]) -> None:
    resource = f"api_key/{key.key_id}"
    await audit.record(connection, resource=resource, request_id=request.request_id, detail=detail)


class Keys:
    """Finds keys, for whoever authenticates."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def find(self, prefix: str) -> Credentials | None:
        """See mesh.api_keys.Find."""
        async with self._store.connection(EVERY) as connection:
            row = await self._store.sql.select_credentials(connection, prefix=prefix)
        return None if row is None else Credentials(**dict(row))
