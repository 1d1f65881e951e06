"""The writer of the journal: reads the streams of scans and writes them, one writer at a time, through any absence.

Each group is read, judged, written in one transaction with the stream's offset, and trimmed from the stream, in this
order: whatever dies between two of these, the next writer reads from the offset and goes on.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import asyncpg
import structlog

from mesh.database import GONE, Connection
from mesh.errors import DependencyUnavailable
from mesh.pipeline import ValkeyError
from mesh.presence import Presence
from mesh.tasks import end, pause
from scan.drain import Drain
from scan.event import Judge
from scan.journal import Group, Journal, Position
from scan.metrics import Metrics
from scan.stream import Stream

log = structlog.get_logger()
MONTHS_SECONDS = 3600.0


@dataclass(frozen=True, slots=True)
class Pace:
    """How a writer works, in seconds: between looks at streams that were read to their end (what comes meanwhile shares
    a transaction), between tries to lead or to reach a server that is away, and until a hung writer loses the lead.
    """

    group: int = 2_000
    poll: float = 0.1
    again: float = 0.5
    lease: float = 10.0


class Writer:
    """Writes the streams of so many shards, and of all that were ever written. `entropy` gives so many random bytes."""

    def __init__(
        self,
        pool: "asyncpg.Pool[Any]",
        stream: Stream,
        journal: Journal,
        judge: Judge,
        *,
        shards: int,
        entropy: Callable[[int], bytes],
        metrics: Metrics,
        pace: Pace,
    ) -> None:
        self._pool = pool
        self._stream = stream
        self._journal = journal
        self._judge = judge
        self._shards = list(range(shards))
        self._entropy = entropy
        self._metrics = metrics
        self._pace = pace
        self._postgres, self._valkey = Presence("PostgreSQL"), Presence("streams in Valkey")
        self._away: set[int] = set()

    async def run(self, stop: asyncio.Event) -> None:
        """Writes until `stop` is set, then finishes the group under way."""
        while not stop.is_set():
            try:
                await self._on_connection(stop)
            except (*GONE, DependencyUnavailable) as error:
                self._postgres.away(error)
            except Exception:
                self._metrics.faults.inc()
                log.exception("scans cannot be written")
            self._metrics.leading.set(0)
            await pause(stop, self._pace.again)

    async def watch(self, stop: asyncio.Event) -> None:
        """Shows what waits, whoever writes it."""
        warned = False
        while not stop.is_set():
            for shard in self._shards:
                with suppress(ValkeyError):
                    self._metrics.show_backlog(shard, await self._stream.backlog(shard))
            with suppress(ValkeyError):
                memory = await self._stream.memory()
                self._metrics.show_memory(memory)
                if memory.evicts and not warned:
                    warned = True
                    log.warning("Valkey may evict scans that are not written yet: set maxmemory-policy noeviction")
            await pause(stop, 1.0)

    async def keep_months(self, stop: asyncio.Event, *, ahead: int, kept: int) -> None:
        """Makes the months of events ahead, and drops those that are over."""
        while not stop.is_set():
            try:
                async with self._pool.acquire(timeout=5) as connection:
                    made, dropped = await self._journal.keep_months(connection, ahead=ahead, kept=kept)
                if made or dropped:
                    log.info("months of events", made=made, dropped=dropped)
            except (*GONE, asyncpg.PostgresError) as error:
                log.warning("months of events are not kept", reason=str(error))
            await pause(stop, MONTHS_SECONDS)

    async def _on_connection(self, stop: asyncio.Event) -> None:
        connection = await self._pool.acquire(timeout=5)
        try:
            while not await self._journal.lead(connection, self._pace.lease):
                self._postgres.here()
                await pause(stop, self._pace.again)
                if stop.is_set():
                    return
            await self._lead(connection, stop)
        finally:
            with suppress(asyncpg.InterfaceError):  # a lost one has left the pool already
                connection.terminate()

    async def _lead(self, connection: Connection, stop: asyncio.Event) -> None:
        led = _Led(self._journal, connection)
        self._shards = sorted({*self._shards, *await self._journal.shards(connection)})
        drains = [asyncio.create_task(self._drain(shard, led, stop)) for shard in self._shards]
        self._metrics.leading.set(1)
        try:
            await asyncio.gather(*drains)
        finally:
            await end(*drains)

    async def _drain(self, shard: int, led: "_Led", stop: asyncio.Event) -> None:
        """Through any absence of the shard, which is no matter of the others."""
        drain = Drain(
            shard,
            self._stream,
            led,
            self._judge,
            entropy=self._entropy,
            metrics=self._metrics,
            most=self._pace.group,
        )
        sound = False
        while not stop.is_set():
            try:
                if not sound:
                    await drain.recover()
                    sound = True
                more = await drain.step()
            except ValkeyError as error:
                sound = False
                self._away.add(shard)
                self._valkey.away(error)
                await pause(stop, self._pace.again)
                continue
            self._postgres.here()
            self._away.discard(shard)
            if not self._away:
                self._valkey.here()
            if not more:
                await pause(stop, self._pace.poll)


class _Led:
    """The journal over the connection that leads, for one shard at a time."""

    def __init__(self, journal: Journal, connection: Connection) -> None:
        self._journal = journal
        self._connection = connection
        self._free = asyncio.Lock()

    async def position(self, shard: int) -> Position:
        """See drain.Led."""
        async with self._free:
            return await self._journal.position(self._connection, shard)

    async def write(self, group: Group, *, look: bool = False) -> int:
        """See drain.Led."""
        async with self._free:
            return await self._journal.write(self._connection, group, look=look)
