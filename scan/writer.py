"""The writer of the journal: reads the streams of scans and writes them, one writer at a time, through any absence.

Each group is read, judged, written in one transaction with the stream's offset, and trimmed from the stream, in this
order: whatever dies between two of these, the next writer reads from the offset and goes on.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import asyncpg
import structlog
from redis.exceptions import RedisError

from mesh import tasks
from mesh.database import GONE, Connection
from mesh.errors import DependencyUnavailable
from mesh.presence import Presence
from scan.event import BLIND_BYTES, Judge, MalformedEventError, Row, make_row, read_envelope, time_ms
from scan.journal import DeadEntry, Group, Journal, MovedError, Position
from scan.metrics import Metrics
from scan.stream import PASSED, START, Entry, Stream, precedes
from trust.ledger import EntryMalformedError

log = structlog.get_logger()
UNFIT = (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError, EntryMalformedError)
"""What is raised for a row that neither PostgreSQL nor the ledger will ever have."""
MONTHS_SECONDS = 3600.0


@dataclass(frozen=True, slots=True)
class Pace:
    """How a writer works, in seconds: between looks at streams that were read to their end (what comes meanwhile shares
    a transaction), between tries to lead or to reach a server that is away, and until a hung writer loses the lead.
    """

    group: int = 2_000
    poll: float = 0.05
    again: float = 0.5
    lease: float = 10.0


class Writer:
    """Writes the streams of all shards. `entropy` gives so many random bytes."""

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
        self._shards = range(shards)
        self._entropy = entropy
        self._metrics = metrics
        self._pace = pace
        self._size = pace.group
        self._postgres, self._valkey = Presence("PostgreSQL"), Presence("Valkey")

    async def run(self, stop: asyncio.Event) -> None:
        """Writes until `stop` is set, then finishes the group under way."""
        while not stop.is_set():
            try:
                await self._on_connection(stop)
            except (*GONE, DependencyUnavailable) as error:
                self._postgres.away(error)
            except RedisError as error:
                self._valkey.away(error)
            except Exception:
                self._metrics.faults.inc()
                log.exception("scans cannot be written")
            self._metrics.leading.set(0)
            await tasks.pause(stop, self._pace.again)

    async def watch(self, stop: asyncio.Event) -> None:
        """Shows what waits, whoever writes it."""
        warned = False
        while not stop.is_set():
            with suppress(RedisError, OSError):
                for shard in self._shards:
                    self._metrics.show_backlog(shard, await self._stream.backlog(shard))
                memory = await self._stream.memory()
                self._metrics.show_memory(memory)
                if memory.evicts and not warned:
                    warned = True
                    log.warning("Valkey may evict scans that are not written yet: set maxmemory-policy noeviction")
            await tasks.pause(stop, 1.0)

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
            await tasks.pause(stop, MONTHS_SECONDS)

    async def _on_connection(self, stop: asyncio.Event) -> None:
        connection = await self._pool.acquire(timeout=5)
        try:
            while not await self._journal.lead(connection, self._pace.lease):
                self._postgres.here()
                await tasks.pause(stop, self._pace.again)
                if stop.is_set():
                    return
            await self._lead(connection, stop)
        finally:
            with suppress(asyncpg.InterfaceError):  # a lost one has left the pool already
                connection.terminate()

    async def _lead(self, connection: Connection, stop: asyncio.Event) -> None:
        for shard in self._shards:
            await self._recover(connection, shard)
        self._metrics.leading.set(1)
        while not stop.is_set():
            more = [await self._step(connection, shard) for shard in self._shards]
            self._postgres.here()
            self._valkey.here()
            if not any(more):
                await tasks.pause(stop, self._pace.poll)

    async def _step(self, connection: Connection, shard: int) -> bool:
        """Writes the next group of a stream; whether there may be more."""
        position = await self._journal.position(connection, shard)
        size = self._size
        entries = await self._stream.read(shard, after=position.last_id, count=size)
        if not entries:
            await self._check_order(connection, shard, position)
            return False
        group = self._judged(shard, position, entries)
        try:
            if await self._write(connection, group, look=False):
                await self._stream.trim(shard, group.ended)
        except MovedError:
            return True
        return len(entries) >= self._size

    async def _write(self, connection: Connection, group: Group, *, look: bool) -> bool:
        """Whether the group was written; if not, smaller ones are to be tried, down to the one entry that is unfit."""
        try:
            written = await self._journal.write(connection, group, look=look)
        except asyncpg.UniqueViolationError:
            if look:
                raise
            return await self._write(connection, group, look=True)
        except UNFIT as error:
            if len(group.entries) > 1:
                self._size = len(group.entries) // 2
                return False
            group = replace(group, rows=(), dead=(DeadEntry(group.entries[0], str(error)),))
            written = await self._journal.write(connection, group)
        self._size = min(self._size * 2, self._pace.group)
        self._metrics.rows.inc(written)
        self._metrics.repeated.inc(len(group.rows) - written)
        self._metrics.dead.inc(len(group.dead))
        for dead in group.dead:
            log.error("entry set aside", shard=group.shard, stream_id=dead.entry.stream_id, reason=dead.reason)
        return True

    def _judged(self, shard: int, position: Position, entries: Sequence[Entry]) -> Group:
        rows, dead = [], []
        for entry in entries:
            try:
                rows.append(self._row(entry, position))
            except MalformedEventError as error:
                dead.append(DeadEntry(entry, str(error)))
        return Group(shard, position.last_id, entries[-1].stream_id, entries, rows, dead)

    def _row(self, entry: Entry, position: Position) -> Row:
        envelope = read_envelope(entry.fields)
        if not position.since_ms <= time_ms(envelope.event_id) < position.until_ms:
            raise MalformedEventError("no month is kept for the time in the event's id")
        return make_row(envelope, self._judge, self._entropy(BLIND_BYTES))

    async def _check_order(self, connection: Connection, shard: int, position: Position) -> None:
        """Finds a stream that has forgotten: its next ids could lie where nobody reads any more."""
        if precedes((await self._stream.backlog(shard)).last_id, position.last_id):
            log.warning("Valkey has forgotten entries", shard=shard, last_id=position.last_id)
            await self._recover(connection, shard)

    async def _recover(self, connection: Connection, shard: int) -> None:
        """Writes what lies before the offset and is not in the journal, and lets new ids come after it.

        Commonly there is at most one group, which was written and not trimmed. After Valkey forgot its last second and
        its clock went back there may be scans that nobody wrote.
        """
        position = await self._journal.position(connection, shard)
        if position.last_id == START:
            return
        await self._stream.pass_over(shard, position.last_id)
        while entries := await self._stream.read_until(shard, position.last_id, count=self._size):
            events = [entry for entry in entries if entry.fields != PASSED]
            if events:
                group = replace(self._judged(shard, position, events), ended=position.last_id)
                if not await self._write(connection, group, look=True):
                    continue
            await self._stream.trim(shard, entries[-1].stream_id)
