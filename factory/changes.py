"""Who waits for a batch is woken when it changes: by Valkey across processes, and by the clock where that is away."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from uuid import UUID

from redis.asyncio import Redis
from redis.exceptions import RedisError

from mesh.errors import ShuttingDown
from mesh.presence import Presence
from mesh.tasks import end

CHANNEL = "factory:batches"
GATHER_SECONDS = 0.05
RETRY_SECONDS = 0.5
REREAD_SECONDS = 2.0
_ID_BYTES = 16
_IDS_A_MESSAGE = 1_000


class Waiter:
    """Waits for changes of one batch."""

    def __init__(self, closing: asyncio.Event) -> None:
        self._changed = asyncio.Event()
        self._closing = closing

    def wake(self) -> None:
        """Says that something may have changed, or that it is time to go."""
        self._changed.set()

    async def wait(self) -> None:
        """Returns at a change, and after 2 s in any case, as a message may be lost. Raises ShuttingDown."""
        if not self._closing.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), REREAD_SECONDS)
        if self._closing.is_set():
            raise ShuttingDown
        self._changed.clear()


class Changes:
    """Changes of batches, told to every process. PostgreSQL is the truth; a message only says where to look."""

    def __init__(self, valkey: Redis) -> None:
        self._valkey = valkey
        self._presence = Presence("Valkey")
        self._waiters: dict[UUID, set[Waiter]] = defaultdict(set)
        self._told: set[UUID] = set()
        self._telling = asyncio.Event()
        self._closing = asyncio.Event()

    def announce(self, batch_id: UUID) -> None:
        """Says that a batch has changed; returns at once, and is to be called after the commit."""
        self._wake(batch_id)
        self._told.add(batch_id)
        self._telling.set()

    @contextmanager
    def waiting(self, batch_id: UUID) -> Iterator[Waiter]:
        """A waiter that sees every change announced from now on."""
        waiter = Waiter(self._closing)
        self._waiters[batch_id].add(waiter)
        try:
            yield waiter
        finally:
            waiters = self._waiters[batch_id]
            waiters.discard(waiter)
            if not waiters:
                del self._waiters[batch_id]

    def close(self) -> None:
        """Sends every waiter away: the server drains."""
        self._closing.set()
        for waiters in self._waiters.values():
            for waiter in waiters:
                waiter.wake()

    @asynccontextmanager
    async def told(self, *, heard: bool) -> AsyncIterator[None]:
        """Tells changes while the block runs, and hears those of other processes when there are watchers."""
        tasks = {asyncio.create_task(self._tell())}
        if heard:
            tasks.add(asyncio.create_task(self._hear()))
        try:
            yield
        finally:
            await end(*tasks)

    def _wake(self, batch_id: UUID) -> None:
        for waiter in self._waiters.get(batch_id, ()):
            waiter.wake()

    async def _tell(self) -> None:
        while True:
            await self._telling.wait()
            await asyncio.sleep(GATHER_SECONDS)  # an import commits a chunk every few milliseconds
            self._telling.clear()
            ids, self._told = [batch_id.bytes for batch_id in self._told], set()
            for start in range(0, len(ids), _IDS_A_MESSAGE):
                try:
                    await self._valkey.publish(CHANNEL, b"".join(ids[start : start + _IDS_A_MESSAGE]))
                except (RedisError, OSError) as error:
                    self._presence.away(error)

    async def _hear(self) -> None:
        while True:
            try:
                await self._subscribed()
            except (RedisError, OSError) as error:
                self._presence.away(error)
            await asyncio.sleep(RETRY_SECONDS)

    async def _subscribed(self) -> None:
        async with self._valkey.pubsub(ignore_subscribe_messages=True) as subscription:
            await subscription.subscribe(CHANNEL)
            self._presence.here()
            async for message in subscription.listen():
                ids: bytes = message["data"]
                for start in range(0, len(ids), _ID_BYTES):
                    self._wake(UUID(bytes=ids[start : start + _ID_BYTES]))
