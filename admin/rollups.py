"""Figures kept as things happen: each look takes what is new since the one before and adds it up, once.

Scans are taken in the order of the ledger, from a place in it: a scan below the ledger's size is committed and visible,
and none ever comes below a place that was passed, since whoever appends holds the ledger until the commit. Batches and
windows are taken by the transaction that changed them, which no clock can put out of order.

Lost before a look's commit: nothing, it is done again. After it: nothing. Position and increments are one transaction.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import date, timedelta
from typing import Any
from uuid import UUID

import orjson
import structlog

from admin.counting import COUNTED, DAY, EVERYBODY, Counted, Increments, Scan, Span, Standing, first_id, midnight
from admin.product_lists import ProductList
from admin.store import Store
from mesh.clock import Clock
from mesh.database import Connection
from mesh.error import VokeTagError
from mesh.presence import Presence
from mesh.tasks import end

log = structlog.get_logger()
EVERY_SECONDS = 2.0
GROUP = 10_000
"""Places of the ledger in one transaction."""
PRODUCTS_KEPT = 100
"""Products in the list of a factory's day."""
COUNTED_DAYS = timedelta(days=2)
"""For so long before today every product is remembered; what comes later is looked up in the journal."""
FORGOTTEN_AT_ONCE = 50_000
HOURS_KEPT = timedelta(days=93)
FORGET_SECONDS = 3600.0
HUNG = "60s"
SHARE = 50
"""Looking at queues takes no more than one part in so many of the time, however long they are."""


class Rollups:
    """Counts; of several processes one at a time. `group` and `products_kept` are what tests make small."""

    def __init__(self, store: Store, clock: Clock, *, group: int = GROUP, products_kept: int = PRODUCTS_KEPT) -> None:
        self._store = store
        self._clock = clock
        self._group = group
        self._most = products_kept
        self._jobs_at = self._forget_at = 0.0
        self._presence = Presence("PostgreSQL")

    async def run_once(self) -> None:
        """Counts all that is there; does nothing while another process counts. Raises DependencyUnavailable."""
        for count in self._sources():
            await count()

    def _sources(self) -> tuple[Callable[[], Awaitable[None]], ...]:
        return self._factories, self._batches, self._windows, self._jobs, self._ledger, self._forget_hours

    @asynccontextmanager
    async def going_on(self, every: float = EVERY_SECONDS) -> AsyncIterator[None]:
        """Does so every few seconds until the block ends, through any absence of PostgreSQL."""
        task = asyncio.create_task(self._run(every))
        try:
            yield
        finally:
            await end(task)

    async def _run(self, every: float) -> None:
        while True:
            for count in self._sources():
                try:
                    await count()
                    self._presence.here()
                except VokeTagError as error:
                    self._presence.away(error)
                except Exception:  # of one source: the others are counted all the same
                    log.exception("figures are not kept")
            await asyncio.sleep(every)

    @asynccontextmanager
    async def _leading(self) -> AsyncIterator["Connection | None"]:
        """A transaction of the one who counts; None while that is another."""
        async with self._store.transaction() as connection:
            await self._store.sql.bound_rollup(connection, seconds=HUNG)
            yield connection if await self._store.sql.take_rollup_lead(connection) else None

    async def _ledger(self) -> None:
        while await self._scans():
            pass

    async def _scans(self) -> bool:
        """Counts the next stretch of the ledger; whether there is more."""
        sql = self._store.sql
        async with self._leading() as connection:
            if connection is None:
                return False
            held = await sql.hold_rollup(connection, source="scans")
            end_ = await sql.ledger_end(connection)
            position, since = held["position"], held["counted_since"]
            past = min(position + self._group, end_["size"])
            scans = [Scan(*row) async for row in sql.events_to_count(connection, first=position, past=past)]
            if scans:
                await self._add(connection, scans, position=position, since=since)
                since = max(since, self._remembered_since(scans))
                await sql.forget_product_counts(connection, before=since, limit=FORGOTTEN_AT_ONCE)
            behind: bool = past < end_["size"]
            # What the journal had by the time of a scan in it lies before that scan.
            as_of = min(scans[-1].at, end_["as_of"]) if behind and scans else None if behind else end_["as_of"]
            known = [moment for moment in (held["as_of"], as_of) if moment is not None]
            await sql.move_rollup(
                connection, source="scans", position=past, counted_since=since, as_of=max(known, default=None)
            )
            return behind

    async def _forget_hours(self) -> None:
        if self._clock.monotonic() >= self._forget_at:
            self._forget_at = self._clock.monotonic() + FORGET_SECONDS
            async with self._leading() as connection:
                if connection is not None:
                    await self._store.sql.forget_hours(connection, before=self._clock.now() - HOURS_KEPT)

    async def _add(self, connection: Connection, scans: Sequence[Scan], *, position: int, since: date) -> None:
        sql = self._store.sql
        products = list({scan.product_id for scan in scans})
        new = {row["product_id"] async for row in sql.enter_scanned(connection, product_ids=products)}
        increments = Increments.of(scans, new)
        await self._recall(connection, [key for key in increments.products if key[0] < since], position)
        days, ids = zip(*increments.products, strict=True)
        rows = sql.count_products(
            connection,
            days=days,
            product_ids=ids,
            scans=list(increments.products.values()),
            known=[increments.known[key] for key in increments.products],
        )
        standings = increments.add_products([Counted(*row) async for row in rows])
        await self._rank(connection, standings)
        await self._put(connection, increments)

    async def _put(self, connection: Connection, increments: Increments) -> None:
        grains, factory_ids, moments = zip(*increments.scans, strict=True)
        spans = {"grains": grains, "factory_ids": factory_ids, "since": moments}
        async for row in self._store.sql.countries_of(connection, **spans):
            span = Span(row["grain"], row["factory_id"], row["since"])
            increments.countries[span].update(orjson.loads(row["countries"]))
        columns: dict[str, list[Any]] = {
            name: [counts[name] for counts in increments.scans.values()] for name in COUNTED
        }
        columns["countries"] = [orjson.dumps(increments.countries[span]).decode() for span in increments.scans]
        await self._store.sql.add_scans(connection, **spans, **columns)
        days = [
            (span.since.date(), span.factory_id, counts["scans"], counts["suspicious"] + counts["likely_copy"])
            for span, counts in increments.scans.items()
            if span.grain == DAY and span.factory_id != EVERYBODY
        ]
        if days:
            names = ("days", "factory_ids", "scans", "suspected")
            await self._store.sql.add_factories(connection, **dict(zip(names, zip(*days, strict=True), strict=True)))

    async def _recall(self, connection: Connection, late: Sequence[tuple[date, UUID]], position: int) -> None:
        if late:
            await self._store.sql.recall_products(
                connection,
                days=[day for day, _ in late],
                product_ids=[product_id for _, product_id in late],
                first_ids=[first_id(midnight(day)) for day, _ in late],
                past_ids=[first_id(midnight(day) + timedelta(days=1)) for day, _ in late],
                position=position,
            )

    async def _rank(self, connection: Connection, standings: Sequence[Standing]) -> None:
        grown: dict[tuple[UUID, date], dict[bytes, int]] = {}
        for factory_id, day, product_id, scans in standings:
            grown.setdefault((factory_id, day), {})[product_id.bytes] = scans
        factory_ids, days = zip(*grown, strict=True)
        lists = {
            (row["factory_id"], row["day"]): ProductList(row["listed"], row["complete"])
            async for row in self._store.sql.lists_of(connection, factory_ids=factory_ids, days=days)
        }
        raised = [lists.get(key, ProductList()).raised(scans, self._most) for key, scans in grown.items()]
        listed, complete = zip(*raised, strict=True)
        await self._store.sql.put_lists(
            connection, factory_ids=factory_ids, days=days, listed=listed, complete=complete
        )

    def _remembered_since(self, scans: Sequence[Scan]) -> date:
        """A clock that is ahead must not make today late."""
        return min(max(scan.at for scan in scans).date(), self._clock.now().date()) - COUNTED_DAYS

    async def _batches(self) -> None:
        async with self._leading() as connection:
            if connection is not None:
                look = await self._store.sql.look_again(connection, source="batches")
                await self._store.sql.count_batches(connection, before=look["before"], everybody=EVERYBODY)
                await self._looked(connection, "batches", look)

    async def _windows(self) -> None:
        sql = self._store.sql
        async with self._leading() as connection:
            if connection is None:
                return
            look = await sql.look_again(connection, source="windows")
            changed = [row async for row in sql.changed_windows(connection, before=look["before"])]
            if changed:
                gone = sql.drop_windows(connection, tree_ids=[row["tree_id"] for row in changed])
                days = [row["day"] async for row in gone]
                final = [row for row in changed if row["day"] is not None]
                columns: dict[str, list[Any]] = {
                    name: [row[name] for row in final]
                    for name in ("roots", "gas_used", "fee_wei", "total_ms", "most_ms")
                }
                finals = [row["day"] for row in final]
                tree_ids = [row["tree_id"] for row in final]
                await sql.copy_windows(connection, tree_ids=tree_ids, days=finals, **columns)
                await sql.add_up_windows(connection, days=days + finals)
            await sql.copy_root_backlog(connection)
            await self._looked(connection, "windows", look)

    async def _factories(self) -> None:
        async with self._leading() as connection:
            if connection is not None:
                look = await self._store.sql.look_again(connection, source="factories")
                await self._store.sql.copy_factories(connection)
                await self._looked(connection, "factories", look)

    async def _jobs(self) -> None:
        if self._clock.monotonic() < self._jobs_at:
            return
        began = self._clock.monotonic()
        async with self._leading() as connection:
            if connection is None:
                return
            look = await self._store.sql.look_again(connection, source="jobs")
            await self._store.sql.forget_jobs(connection)
            await self._store.sql.copy_jobs(connection)
            await self._looked(connection, "jobs", look)
        self._jobs_at = self._clock.monotonic() + SHARE * (self._clock.monotonic() - began)

    async def _looked(self, connection: Connection, source: str, look: Any) -> None:
        await self._store.sql.looked(connection, source=source, snapshot=look["now"], as_of=look["as_of"])
