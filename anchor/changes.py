"""Tells everyone in this process who waits that some transaction took a step; one LISTEN serves all of them."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any

import asyncpg
import structlog

from mesh import tasks
from mesh.database import GONE
from mesh.errors import RateLimited, ShuttingDown

log = structlog.get_logger()
CHANNEL = "anchor_changed"


class Changes:
    """A notification only wakes: the truth is read from the tables, and every `poll_seconds` without any notification.

    So a lost notification delays a watcher and never hangs it.
    """

    def __init__(self, pool: "asyncpg.Pool[Any]", *, poll_seconds: float, watchers: int) -> None:
        self._pool = pool
        self._poll = poll_seconds
        self._free = watchers
        self._changed = asyncio.Event()
        self._closed = False
        self.count = 0

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        """Listens meanwhile, on a new connection whenever one is lost."""
        task = asyncio.create_task(self._listen())
        try:
            yield
        finally:
            await tasks.end(task)

    async def _listen(self) -> None:
        while True:
            try:
                async with self._pool.acquire() as connection:
                    await self._listen_on(connection)
            except GONE as error:
                log.warning("not listening: PostgreSQL is away", error=repr(error))
            await asyncio.sleep(self._poll)

    async def _listen_on(self, connection: Any) -> None:
        lost = asyncio.Event()

        def tell(*_: object) -> None:
            self._tell()

        def lose(*_: object) -> None:
            lost.set()

        connection.add_termination_listener(lose)
        await connection.add_listener(CHANNEL, tell)
        try:
            self._tell()  # something may have happened while nobody listened
            await lost.wait()
        finally:
            connection.remove_termination_listener(lose)
            if not connection.is_closed():
                await connection.remove_listener(CHANNEL, tell)

    def _tell(self) -> None:
        self.count += 1
        self._changed.set()
        self._changed = asyncio.Event()

    def close(self) -> None:
        """Ends every wait with ShuttingDown."""
        self._closed = True
        self._changed.set()

    @contextmanager
    def watching(self) -> Iterator[None]:
        """A place among the watchers. Raises RateLimited when all are taken."""
        if self._free == 0:
            raise RateLimited(seconds=self._poll, retry_after=self._poll)
        self._free -= 1
        try:
            yield
        finally:
            self._free += 1

    async def since(self, count: int) -> None:
        """Returns when there was a change since `count` was read, or after the poll. Raises ShuttingDown."""
        if self.count == count and not self._closed:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._poll):
                    await self._changed.wait()
        if self._closed:
            raise ShuttingDown
