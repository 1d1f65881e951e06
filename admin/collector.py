"""The audit rows of every service, taken into the log: each once, and none left behind.

A service's rows have an order, by (xid, position), in which none can come late: its view is read up to the oldest
transaction under way (docs/audit.md). How far it was read is kept in the transaction that appends what was read, so a
process that dies before its commit has taken nothing, and after it everything. One collects at a time; two that did
would wait for each other at the end of the log, and the second would find nothing new.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import asyncpg
import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge

from admin.audit import entry_of
from admin.store import Store
from mesh.clock import Clock
from mesh.database import GONE, Connection
from mesh.lead import key_of, lead
from mesh.ledger import Ledger
from mesh.presence import Presence
from mesh.tasks import end
from trust.auditlog import AuditEntry
from trust.ledger import extend

log = structlog.get_logger()
SOURCES = ("admin", "factory", "scan", "anchor")
COLUMNS = ("number", "at", *(name for name in AuditEntry._fields if name != "time"))
ABSENT = (asyncpg.UndefinedTableError, asyncpg.UndefinedColumnError, asyncpg.InsufficientPrivilegeError)
"""What a service's view answers until its schema is migrated."""
LEASE_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds between looks for rows and between tries to lead; rows of a service taken at once."""

    every: float = 1.0
    again: float = 1.0
    most: int = 1000


class CollectorMetrics:
    """Gauges and counters of a collector in the given registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.taken = Counter("voketag_audit_collected", "Rows taken into the audit log", ["source"], registry=registry)
        self.faults = Counter("voketag_audit_faults", "Turns in which rows could not be taken", registry=registry)
        self.age = Gauge("voketag_audit_age_seconds", "Age of the oldest row that was taken last", registry=registry)


class Collector:
    """Takes rows in turns on a connection of its own."""

    def __init__(
        self, pool: "asyncpg.Pool[Any]", ledger: Ledger, clock: Clock, *, metrics: CollectorMetrics, pace: Pace
    ) -> None:
        self._pool = pool
        self._sql = Store.queries()
        self._ledger = ledger
        self._clock = clock
        self._metrics = metrics
        self._pace = pace
        self._postgres = Presence("PostgreSQL for the audit log")
        self._sources = {source: Presence(f"audit rows of {source}") for source in SOURCES}

    @asynccontextmanager
    async def going_on(self) -> AsyncIterator[None]:
        """Takes what comes until the block ends, through any absence of PostgreSQL."""
        task = asyncio.create_task(self._run())
        try:
            yield
        finally:
            await end(task)

    async def collect(self, connection: Connection) -> int:
        """Appends what is new, as far as one transaction should take: how much it was."""
        waiting = [source for source in SOURCES if await self._waits(connection, source)]
        if not waiting:
            return 0
        async with connection.transaction():
            state = await self._ledger.hold(connection)
            # Read anew: whoever held the end of the log before may have taken what waited.
            found = {source: await self._rows(connection, source, self._pace.most) for source in waiting}
            rows = sorted((row for rows in found.values() for row in rows), key=lambda row: row["at"])
            entries = [entry_of(row) for row in rows]
            if not entries:
                return 0
            await self._append(connection, state.size, entries)
            await self._ledger.put(connection, extend(state, entries))
            for source, own in found.items():
                if own:
                    place = {"xid": own[-1]["xid"], "position": own[-1]["position"]}
                    await self._sql.move_audit_cursor(connection, source=source, **place)
        self._show(found, entries)
        return len(entries)

    async def _append(self, connection: Connection, first: int, entries: Sequence[AuditEntry]) -> None:
        records = [
            (number, entry.time, *(getattr(entry, name) for name in COLUMNS[2:]))
            for number, entry in enumerate(entries, first)
        ]
        await connection.copy_records_to_table("audit_chain", records=records, columns=COLUMNS)

    async def _waits(self, connection: Connection, source: str) -> bool:
        try:
            rows = await self._rows(connection, source, 1)
        except ABSENT as error:
            self._sources[source].away(error)
            return False
        self._sources[source].here()
        return bool(rows)

    async def _rows(self, connection: Connection, source: str, most: int) -> list[dict[str, Any]]:
        rows = self._sql.new_audit_rows(connection, source=source, most=most)
        return [{**row, "source": source} async for row in rows]

    def _show(self, found: dict[str, list[dict[str, Any]]], entries: Sequence[AuditEntry]) -> None:
        for source, rows in found.items():
            self._metrics.taken.labels(source).inc(len(rows))
        if entries:
            self._metrics.age.set((self._clock.now() - entries[0].time).total_seconds())

    async def _run(self) -> None:
        while True:
            try:
                await self._on_connection()
            except GONE as error:
                self._postgres.away(error)
            except Exception:
                self._metrics.faults.inc()
                log.exception("audit rows cannot be taken")
            await asyncio.sleep(self._pace.again)

    async def _on_connection(self) -> None:
        connection = await self._pool.acquire(timeout=5)
        try:
            while not await lead(connection, key_of(f"collect {self._ledger.origin}"), LEASE_SECONDS):
                self._postgres.here()
                await asyncio.sleep(self._pace.again)
            await self._check(connection)
            while True:
                taken = await self.collect(connection)
                self._postgres.here()
                if taken < self._pace.most:
                    await asyncio.sleep(self._pace.every)
        finally:
            with suppress(asyncpg.InterfaceError):  # a lost one has left the pool already
                connection.terminate()

    async def _check(self, connection: Connection) -> None:
        if foreign := await self._sql.foreign_audit_cursors(connection):
            self._metrics.faults.inc()
            log.error("this server was filled from a dump: see docs/audit.md, or rows are left behind", sources=foreign)
