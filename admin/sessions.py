"""Sessions: from a login to a logout, carried on by refresh tokens that are each good once."""

import base64
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import structlog

from admin.store import Store
from admin.tokens import AccessTokens
from admin.users import User
from mesh import audit
from mesh.clock import Clock, IdSource
from mesh.database import Connection
from mesh.errors import CredentialsInvalid
from mesh.identity import Principal, address, set_caller

log = structlog.get_logger()
LIFETIME = timedelta(days=7)
TOKEN_BYTES = 32


@dataclass(frozen=True, slots=True)
class Tokens:
    """What a session is carried on with."""

    access: str
    access_expires_at: datetime
    refresh: str
    session_expires_at: datetime


def token_hash(token: str) -> bytes:
    """What is kept of a refresh token: it has 256 bits, so one round is enough."""
    return hashlib.sha256(token.encode()).digest()


class Sessions:
    """Opens, carries on and ends sessions.

    An answer to a refresh that is lost costs the session: the used token comes again, which looks like theft.
    """

    def __init__(
        self,
        store: Store,
        tokens: AccessTokens,
        clock: Clock,
        *,
        new_id: IdSource,
        random_bytes: Callable[[int], bytes],
    ) -> None:
        self._store = store
        self._tokens = tokens
        self._clock = clock
        self._new_id = new_id
        self._random = random_bytes

    async def open(self, connection: Connection, user: User) -> Tokens:
        """A new session of somebody who proved who they are."""
        now, session_id = self._clock.now(), self._new_id()
        await self._store.sql.insert_session(
            connection,
            session_id=session_id,
            user_id=user.user_id,
            created_at=now,
            expires_at=now + LIFETIME,
            address_prefix=address(),
        )
        detail: dict[str, object] = {"user_id": user.user_id, "expires_at": now + LIFETIME}
        await audit.record(connection, resource=f"session/{session_id}", request_id=None, detail=detail)
        return await self._issue(connection, session_id, user, now + LIFETIME)

    async def refresh(self, token: str) -> Tokens:
        """New tokens for a refresh token, which is used up. Raises CredentialsInvalid; a used one ends its session."""
        hashed = token_hash(token)
        async with self._store.transaction() as connection:
            now = self._clock.now()
            session_id = await self._store.sql.use_refresh_token(connection, token_hash=hashed, now=now)
            tokens = await self._carry_on(connection, session_id) if session_id else None
            if session_id is None:
                await self._end_stolen(connection, hashed)
        if tokens is None:
            raise CredentialsInvalid
        return tokens

    async def end(self, token: str) -> None:
        """Ends the session of a refresh token, used or not; of an unknown one there is nothing to end."""
        async with self._store.transaction() as connection:
            session_id = await self._store.sql.select_token_session(connection, token_hash=token_hash(token))
            owner = session_id and await self._end(connection, session_id)
            if owner is None:
                audit.replayed()
                return
            set_caller(owner)
            detail = {"state": audit.change("open", "ended")}
            await audit.record(connection, resource=f"session/{session_id}", request_id=None, detail=detail)

    async def _carry_on(self, connection: Connection, session_id: UUID) -> Tokens | None:
        row = await self._store.sql.lock_session(connection, session_id=session_id, now=self._clock.now())
        if row is None:
            return None
        columns: dict[str, Any] = dict(row)
        expires_at = columns.pop("expires_at")
        return await self._issue(connection, session_id, User(**columns), expires_at)

    async def _end_stolen(self, connection: Connection, hashed: bytes) -> None:
        session_id = await self._store.sql.select_token_session(connection, token_hash=hashed)
        owner = session_id and await self._end(connection, session_id)
        if owner:
            log.warning("a used refresh token came again; its session ended", session_id=str(session_id))
            set_caller(owner)
            detail = {"state": audit.change("open", "ended"), "why": "a used refresh token came again"}
            await audit.record(connection, resource=f"session/{session_id}", request_id=None, detail=detail)

    async def _end(self, connection: Connection, session_id: UUID) -> Principal | None:
        row = await self._store.sql.end_session(connection, session_id=session_id, now=self._clock.now())
        return row and Principal("user", str(row["user_id"]), roles=frozenset({row["role"]}))

    async def _issue(self, connection: Connection, session_id: UUID, user: User, expires_at: datetime) -> Tokens:
        refresh = base64.urlsafe_b64encode(self._random(TOKEN_BYTES)).rstrip(b"=").decode()
        await self._store.sql.insert_refresh_token(connection, token_hash=token_hash(refresh), session_id=session_id)
        access, access_expires_at = self._tokens.token(user)
        return Tokens(access, access_expires_at, refresh, expires_at)
