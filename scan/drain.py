"""How one stream of scans drains into the journal: read, judge, write with the stream's offset, trim."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Protocol

import asyncpg
import structlog

from scan.event import BLIND_BYTES, Judge, MalformedEventError, Row, make_row, read_envelope, time_ms
from scan.journal import DeadEntry, Group, MovedError, Position
from scan.metrics import Metrics
from scan.stream import PASSED, START, Entry, Stream, precedes
from trust.ledger import EntryMalformedError

log = structlog.get_logger()
UNFIT = (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError, EntryMalformedError)
"""What is raised for a row that neither PostgreSQL nor the ledger will ever have."""


class Led(Protocol):
    """The journal over the connection that leads."""

    async def position(self, shard: int) -> Position:
        """Where the stream of a shard is to be read on."""
        ...

    async def write(self, group: Group, *, look: bool = False) -> int:
        """As Journal.write."""
        ...


class Drain:
    """One shard's. Everything raises what asyncpg raises, and ValkeyError."""

    def __init__(
        self,
        shard: int,
        stream: Stream,
        led: Led,
        judge: Judge,
        *,
        entropy: Callable[[int], bytes],
        metrics: Metrics,
        most: int,
    ) -> None:
        """`most` entries are read at once."""
        self._shard = shard
        self._stream = stream
        self._led = led
        self._judge = judge
        self._entropy = entropy
        self._metrics = metrics
        self._most = self._size = most

    async def step(self) -> bool:
        """Writes the next group of the stream; whether there may be more."""
        position = await self._led.position(self._shard)
        entries = await self._stream.read(self._shard, after=position.last_id, count=self._size)
        if not entries:
            await self._check_order(position)
            return False
        group = self._judged(position, entries)
        try:
            if await self._write(group, look=False):
                await self._stream.trim(self._shard, group.ended)
        except MovedError:
            return True
        return len(entries) >= self._size

    async def recover(self) -> None:
        """Writes what lies before the offset and is not in the journal, and lets new ids come after it.

        Commonly there is at most one group, which was written and not trimmed. After Valkey forgot its last second and
        its clock went back there may be scans that nobody wrote.
        """
        position = await self._led.position(self._shard)
        if position.last_id == START:
            return
        await self._stream.pass_over(self._shard, position.last_id)
        while entries := await self._stream.read_until(self._shard, position.last_id, count=self._size):
            events = [entry for entry in entries if entry.fields != PASSED]
            if events:
                group = replace(self._judged(position, events), ended=position.last_id)
                if not await self._write(group, look=True):
                    continue
            await self._stream.trim(self._shard, entries[-1].stream_id)

    async def _write(self, group: Group, *, look: bool) -> bool:
        """Whether the group was written; if not, smaller ones are to be tried, down to the one entry that is unfit."""
        try:
            written = await self._led.write(group, look=look)
        except asyncpg.UniqueViolationError:
            if look:
                raise
            return await self._write(group, look=True)
        except UNFIT as error:
            if len(group.entries) > 1:
                self._size = len(group.entries) // 2
                return False
            group = replace(group, rows=(), dead=(DeadEntry(group.entries[0], str(error)),))
            written = await self._led.write(group)
        self._size = min(self._size * 2, self._most)
        self._metrics.rows.inc(written)
        self._metrics.repeated.inc(len(group.rows) - written)
        self._metrics.dead.inc(len(group.dead))
        for dead in group.dead:
            log.error("entry set aside", shard=group.shard, stream_id=dead.entry.stream_id, reason=dead.reason)
        return True

    def _judged(self, position: Position, entries: Sequence[Entry]) -> Group:
        rows, dead = [], []
        for entry in entries:
            try:
                rows.append(self._row(entry, position))
            except MalformedEventError as error:
                dead.append(DeadEntry(entry, str(error)))
        return Group(self._shard, position.last_id, entries[-1].stream_id, entries, rows, dead)

    def _row(self, entry: Entry, position: Position) -> Row:
        envelope = read_envelope(entry.fields)
        if not position.since_ms <= time_ms(envelope.event_id) < position.until_ms:
            raise MalformedEventError("no month is kept for the time in the event's id")
        return make_row(envelope, self._judge, self._entropy(BLIND_BYTES))

    async def _check_order(self, position: Position) -> None:
        """Finds a stream that has forgotten: its next ids could lie where nobody reads any more."""
        if precedes((await self._stream.backlog(self._shard)).last_id, position.last_id):
            log.warning("Valkey has forgotten entries", shard=self._shard, last_id=position.last_id)
            await self.recover()
