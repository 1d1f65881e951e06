"""The journal of scans in PostgreSQL: rows, their places in the ledger, and how far each stream is written."""

from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol
from uuid import UUID

import asyncpg

from mesh.database import Connection, load_queries
from mesh.lead import lead
from scan.event import Row
from scan.replay import Past
from scan.stream import Entry
from trust.alignment import Row as Logged
from trust.ledger import NOT_SCORED, Event, Opening

COLUMNS = (*Row._fields, "ledger_index")
PAGE = 1_000
LAST_PLACE = (1 << 63) - 1
SUSPECTED = (2, 3)
"""The verdicts that factories are told of, as the contract numbers them: SUSPICIOUS and LIKELY_COPY."""
TOP_KEPT, TOP_MOST = 100, 200
"""Products on a list of those that were scanned most, after it was trimmed and before."""
UNKNOWN = EVERY = UUID(int=0)
"""The factory of scans whose card could not be read, in totals; and whose list of products has those of all."""
LEAD_KEY = 0x766F6B6A
"""The advisory lock of the writer that works."""


class Ledger(Protocol):
    """The ledger that every event is entered in."""

    async def append(self, connection: Connection, events: Sequence[Event], /) -> int:
        """Enters events in this order, in the transaction under way: the index of the first.

        Others wait for the transaction's end to enter theirs. When it is rolled back, nothing of it remains.
        """
        ...


class MovedError(Exception):
    """Another writer wrote what was read here."""


@dataclass(frozen=True, slots=True)
class Position:
    """Where a stream is to be read on, and the span of months, in milliseconds since 1970, that events can lie in."""

    last_id: str
    since_ms: int
    until_ms: int


@dataclass(frozen=True, slots=True)
class DeadEntry:
    """An entry that is no event, and why."""

    entry: Entry
    reason: str


@dataclass(frozen=True, slots=True)
class Group:
    """The `entries` read of a stream after `began` up to `ended`, and what was made of them.

    `began` and `ended` are one when they lie before what is written.
    """

    shard: int
    began: str
    ended: str
    entries: Sequence[Entry]
    rows: Sequence[Row]
    dead: Sequence[DeadEntry]


class Journal:
    """Writes events. Every group is one transaction: all of it is there or nothing.

    Raises what asyncpg raises; UniqueViolationError when an event is there already, unless it was asked to look.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._sql = load_queries(Path(__file__).parent / "sql")

    async def lead(self, connection: Connection, lease_seconds: float) -> bool:
        """Whether this connection leads from now on to its end, which comes when it idles longer than the lease."""
        return await lead(connection, LEAD_KEY, lease_seconds)

    async def shards(self, connection: Connection) -> list[int]:
        """Every shard whose stream was ever read."""
        return [row["shard"] async for row in self._sql.journal_shards(connection)]

    async def position(self, connection: Connection, shard: int) -> Position:
        """Where the stream of a shard is to be read on."""
        row = await self._sql.journal_position(connection, shard=shard)
        if row is None:
            await self._sql.insert_shard(connection, shard=shard)
            row = await self._sql.journal_position(connection, shard=shard)
        since, until = (_milliseconds(row[name]) for name in ("since", "until"))
        return Position(row["last_id"], since, until)

    async def write(self, connection: Connection, group: Group, *, look: bool = False) -> int:
        """Writes what was read of a stream, and that it is written: how many events were new.

        With `look`, events that are in the journal are left out. Raises MovedError.
        """
        async with connection.transaction():
            if await self._sql.lock_offset(connection, shard=group.shard) != group.began:
                raise MovedError
            written = await self._enter(connection, group.rows, look=look)
            for dead in group.dead:
                fields = [part for pair in dead.entry.fields.items() for part in pair]
                stream_id, reason = dead.entry.stream_id, dead.reason.replace("\0", "")[:500]
                await self._sql.insert_dead(
                    connection, shard=group.shard, stream_id=stream_id, reason=reason, fields=fields
                )
            if group.ended != group.began:
                await self._sql.move_offset(connection, shard=group.shard, last_id=group.ended)
        return written

    async def record(self, connection: Connection, rows: Sequence[Row]) -> int:
        """Writes events that may be in a stream too, or not: how many were new."""
        async with connection.transaction():
            return await self._enter(connection, rows, look=True)

    async def _enter(self, connection: Connection, rows: Sequence[Row], *, look: bool) -> int:
        if look:
            await self._ledger.append(connection, [])  # others wait from here on: what is missing stays so
            rows = await self._missing(connection, rows)
        if not rows:
            return 0
        first = await self._ledger.append(connection, [row.ledger_event() for row in rows])
        await connection.copy_records_to_table(
            "events", records=[(*row, first + place) for place, row in enumerate(rows)], columns=COLUMNS
        )
        await self._suspect(connection, rows)
        await self._add_up(connection, rows)
        await self._rank(connection, rows)
        return len(rows)

    async def _suspect(self, connection: Connection, rows: Sequence[Row]) -> None:
        """What the factory is to be told of these events, which must not be there without it."""
        found = {
            (row.product_id, row.verdict, row.at.date()): row for row in reversed(rows) if row.verdict in SUSPECTED
        }
        if found:
            await self._sql.insert_suspicions(
                connection,
                product_ids=[product_id for product_id, _, _ in found],
                verdicts=[verdict for _, verdict, _ in found],
                days=[day for _, _, day in found],
                event_ids=[row.event_id for row in found.values()],
                risks=[row.risk for row in found.values()],
            )

    async def _add_up(self, connection: Connection, rows: Sequence[Row]) -> None:
        """The day's totals by factory and verdict."""
        totals = Counter([(row.at.date(), row.factory_id or UNKNOWN, row.verdict) for row in rows])
        await self._sql.add_totals(
            connection,
            days=[day for day, _, _ in totals],
            factory_ids=[factory_id for _, factory_id, _ in totals],
            verdicts=[verdict for _, _, verdict in totals],
            counts=list(totals.values()),
        )

    async def _rank(self, connection: Connection, rows: Sequence[Row]) -> None:
        """The lists of what was scanned most. Each says how often its product was, and no more is remembered."""
        best: dict[UUID, Row] = {}
        for row in rows:
            known = best.get(row.product_id)
            if row.scan_count and row.factory_id and (known is None or row.scan_count > (known.scan_count or 0)):
                best[row.product_id] = row
        lists = {EVERY, *(row.factory_id for row in best.values())}
        floors = {floor["list_id"]: floor["scans"] async for floor in self._sql.top_floors(connection, list_ids=lists)}
        found = [
            (list_id, row)
            for row in best.values()
            for list_id in (row.factory_id, EVERY)
            if (row.scan_count or 0) > floors.get(list_id, 0)
        ]
        if not found:
            return
        raised = self._sql.raise_top(
            connection,
            list_ids=[list_id for list_id, _ in found],
            product_ids=[row.product_id for _, row in found],
            owner_ids=[row.factory_id for _, row in found],
            counts=[row.scan_count for _, row in found],
            times=[row.at for _, row in found],
        )
        if grown := list({record["factory_id"] async for record in raised if record["is_new"]}):
            await self._sql.trim_top(connection, list_ids=grown, kept=TOP_KEPT, most=TOP_MOST)

    async def _missing(self, connection: Connection, rows: Sequence[Row]) -> list[Row]:
        if not rows:
            return []
        by_id: dict[UUID, Row] = {}
        for row in rows:
            by_id.setdefault(row.event_id, row)
        found = self._sql.recorded_events(
            connection,
            product_ids=[row.product_id for row in by_id.values()],
            event_ids=list(by_id),
            first_id=min(by_id),
            last_id=max(by_id),
        )
        known = {record["event_id"] async for record in found}
        return [row for event_id, row in by_id.items() if event_id not in known]

    async def pages(self, connection: Connection, first: int, size: int) -> AsyncIterator[list[Logged]]:
        """The rows from a place of the ledger on, as its audit reads them; `size` is the ledger's.

        Rows that claim places after the ledger's end come last.
        """
        for start in range(first, size, PAGE):
            yield await self._logged(connection, start, min(start + PAGE, size))
        if beyond := await self._logged(connection, max(first, size), LAST_PLACE):
            yield beyond

    async def logged(self, pool: "asyncpg.Pool[Any]", product_id: UUID, event_id: UUID) -> Logged | None:
        """One event, as its audit reads it; None if there is none."""
        row = await self._sql.logged_event(pool, product_id=product_id, event_id=event_id)
        return _logged(row) if row else None

    async def _logged(self, connection: Connection, first: int, past: int) -> list[Logged]:
        return [_logged(row) async for row in self._sql.events_in_ledger(connection, first=first, past=past)]

    async def past(
        self, connection: Connection, since: datetime, until: datetime, *, factory_id: UUID | None
    ) -> AsyncIterator[Past]:
        """Scans from `since` on and before `until`, of all factories or one, a page in memory; in a transaction."""
        span = _first_id(since), _first_id(until), since, until
        async for row in connection.cursor(self._sql.past_events.sql, *span, factory_id, prefetch=PAGE):
            yield Past(*row)

    async def keep_months(self, connection: Connection, *, ahead: int, kept: int) -> tuple[int, int]:
        """Makes the months to come and drops those that are over: how many of each."""
        made = await self._sql.ensure_event_months(connection, months_ahead=ahead)
        return made, await self._sql.drop_event_months(connection, months_kept=kept)


def _logged(row: Any) -> Logged:
    risk = NOT_SCORED if row["risk"] is None else row["risk"]
    at = round(row["at"].timestamp() * 1000)
    ids = row["event_id"].bytes, row["product_id"].bytes
    event = Event(*ids, at, row["verdict"], risk, row["risk_version"], row["personal"])
    if row["blind"] is None:
        return Logged(row["ledger_index"], event)
    opening = Opening(row["blind"], (row["prefix_hmac"] or b"", row["device_hmac"] or b""))
    return Logged(row["ledger_index"], event, opening)


def _first_id(at: datetime) -> UUID:
    """No UUIDv7 made at or after this time is smaller."""
    return UUID(int=int(at.timestamp() * 1000) << 80)


def _milliseconds(month: datetime) -> int:
    return round(month.replace(tzinfo=UTC).timestamp() * 1000)
