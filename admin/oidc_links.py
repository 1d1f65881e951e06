"""Who is whom at which provider, for admins; logins themselves link too, see oidc_logins."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from admin.errors import OidcLinkConflict
from admin.oidc_providers import Provider
from admin.store import Store
from admin.users import ACTIVE, authorise
from mesh import audit, idempotency
from mesh.clock import Clock
from mesh.database import Connection
from mesh.errors import UserNotFound, UserStateConflict
from mesh.idempotency import RequestKey
from mesh.identity import Principal


@dataclass(frozen=True, slots=True)
class OidcLink:
    """That a subject of an issuer is a person here."""

    issuer: str
    subject: str
    created_at: datetime


class OidcLinks:
    """Lists, adds and removes links. The audit names the issuer; a subject it could never forget."""

    def __init__(self, store: Store, provider: Callable[[str], Provider], clock: Clock) -> None:
        self._store = store
        self._provider = provider
        self._clock = clock

    async def list(self, user_id: UUID) -> list[OidcLink]:
        """All links of a person. Raises UserNotFound."""
        async with self._store.connection() as connection:
            await self._state(connection, user_id)
            rows = self._store.sql.select_links(connection, user_id=user_id)
            return [OidcLink(**dict(row)) async for row in rows]

    async def add(self, actor: Principal, request: RequestKey, user_id: UUID, *, provider: str, subject: str) -> None:
        """Links a person who is active.

        Raises OidcProviderNotFound, UserNotFound, UserStateConflict, OidcLinkConflict, AccessDenied, RequestIdReused.
        """
        issuer = self._provider(provider).issuer
        async with self._store.transaction() as connection:
            await self._store.sql.lock_rights(connection)
            await authorise(connection, self._store, actor)
            state = await self._state(connection, user_id)
            if await idempotency.claim(connection, request, user_id) is not None:
                return
            if state != ACTIVE:
                raise UserStateConflict(state=state)
            values = {"issuer": issuer, "subject": subject, "user_id": user_id, "now": self._clock.now()}
            if await self._store.sql.insert_link(connection, **values) is None:
                raise OidcLinkConflict
            await _record(connection, user_id, request, None, issuer)

    async def remove(self, actor: Principal, request: RequestKey, user_id: UUID, *, issuer: str) -> None:
        """Takes a link away, if there is one, and ends the person's sessions, for nobody knows how each was opened.

        Raises UserNotFound, AccessDenied, RequestIdReused.
        """
        async with self._store.transaction() as connection:
            await authorise(connection, self._store, actor)
            await self._state(connection, user_id)
            if await idempotency.claim(connection, request, user_id) is not None:
                return
            if await self._store.sql.drop_link(connection, user_id=user_id, issuer=issuer) is None:
                audit.replayed()
                return
            await self._store.sql.end_sessions(connection, user_id=user_id, now=self._clock.now())
            await _record(connection, user_id, request, issuer, None)

    async def _state(self, connection: Connection, user_id: UUID) -> str:
        row = await self._store.sql.select_user(connection, user_id=user_id)
        if row is None:
            raise UserNotFound(user_id=user_id)
        return str(row["state"])


async def _record(
    connection: Connection, user_id: UUID, request: RequestKey, before: str | None, after: str | None
) -> None:
    detail = {"oidc_link": audit.change(before, after)}
    await audit.record(connection, resource=f"user/{user_id}", request_id=request.request_id, detail=detail)
