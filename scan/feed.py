"""Follows notices of changed cards, the factory's and those of rulings, on a PostgreSQL connection of its own."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any
from uuid import UUID

import asyncpg
import structlog

from mesh import database, tasks
from mesh.clock import Clock
from scan.changes import Changes

log = structlog.get_logger()
CARDS, WEIGHTS, RULINGS = "factory_cards", "factory_weights", "scan_rulings"
BEAT_SECONDS = 0.5


class Feed:
    """Hands notices on to `changes`, with a heartbeat on the same connection, by which one that hangs is known."""

    def __init__(self, pool: "asyncpg.Pool[Any]", changes: Changes, clock: Clock) -> None:
        self._pool = pool
        self._changes = changes
        self._clock = clock

    @asynccontextmanager
    async def followed(self) -> AsyncIterator[None]:
        """Follows in the background, through any absence of PostgreSQL."""
        following = asyncio.create_task(self._follow())
        try:
            yield
        finally:
            await tasks.end(following)

    async def _follow(self) -> None:
        while True:
            try:
                await self._listen()
            except database.GONE:
                pass  # Cards finds out by itself, and says so
            except Exception:
                log.exception("notices of changed cards are not followed")
            await asyncio.sleep(BEAT_SECONDS)

    async def _listen(self) -> None:
        connection = await self._pool.acquire(timeout=BEAT_SECONDS)
        try:
            await connection.add_listener(CARDS, self._hear)
            await connection.add_listener(WEIGHTS, self._hear_weights)
            await connection.add_listener(RULINGS, self._hear_ruling)
            self._changes.begin()
            while True:
                asked_at = self._clock.monotonic()
                await database.check(connection)
                self._changes.followed(asked_at)
                await asyncio.sleep(BEAT_SECONDS)
        finally:
            self._changes.lost()
            with suppress(asyncpg.InterfaceError):  # a lost one has left the pool already
                connection.terminate()

    def _hear(self, _connection: object, _pid: int, _channel: str, payload: object) -> None:
        self._changes.notice(UUID(str(payload)).bytes)

    def _hear_weights(self, _connection: object, _pid: int, _channel: str, _payload: object) -> None:
        self._changes.begin()  # it is rare, and every card of the factory is another one now

    def _hear_ruling(self, _connection: object, _pid: int, _channel: str, payload: object) -> None:
        of, _, name = str(payload).partition("/")
        if of == "key":
            self._changes.begin()  # as rare, and any card may be of the key
        else:
            self._changes.notice(UUID(name).bytes)
