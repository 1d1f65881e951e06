"""What is told of what was counted: how things are, and how they were in a period."""

from collections import Counter
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any, NamedTuple
from uuid import UUID

import orjson

from admin.counting import COUNTED, DAY, EVERYBODY, midnight
from admin.period import Period
from admin.product_lists import ProductList, ProductScans, together
from admin.store import Store
from admin.users import FACTORY_ROLES
from mesh.clock import Clock
from mesh.database import Connection
from mesh.errors import FactoryNotFound
from mesh.identity import Principal

LISTED = 10
COUNTRIES, FACTORIES, PRODUCTS, SCANS = "countries", "factories", "products", "scans"
BATCHES, ANCHORING, JOBS, ACCOUNTS, TOTALS = "batches", "anchoring", "jobs", "accounts", "totals"
DASHBOARD = frozenset((TOTALS, SCANS, COUNTRIES, PRODUCTS, FACTORIES, BATCHES, ANCHORING, JOBS, ACCOUNTS))
ANALYTICS = frozenset((SCANS, COUNTRIES, PRODUCTS, FACTORIES, BATCHES, ANCHORING))
OF_EVERYBODY = frozenset((FACTORIES, ANCHORING, JOBS, ACCOUNTS))
"""What does not belong to one factory."""


class Point(NamedTuple):
    """Scans of an hour or day that begins then, by the names in COUNTED; nothing where there are none."""

    since: datetime
    counts: Mapping[str, Any]


class FactoryScans(NamedTuple):
    """A factory, its name, the scans of its products, and how many of them raised a suspicion."""

    factory_id: UUID
    name: str
    scans: int
    suspected: int


class Batches(NamedTuple):
    """Batches, and products issued in them."""

    batches: int = 0
    products: int = 0


class Windows(NamedTuple):
    """Anchored windows, their roots, gas and wei spent, and how long roots took in milliseconds: together, at most."""

    windows: int = 0
    roots: int = 0
    gas_used: int = 0
    fee_wei: Decimal = Decimal(0)
    total_ms: int = 0
    most_ms: int = 0


class Job(NamedTuple):
    """Jobs of a kind in a service's queue; since when the first that waits is due."""

    queue: str
    job: str
    waiting: int
    running: int
    held: int
    oldest_at: datetime | None


@dataclass(slots=True)
class Told:
    """The parts asked for, the others None or empty; `as_of` by source, None where nothing was counted yet."""

    as_of: Mapping[str, datetime | None]
    parts: Collection[str]
    now: datetime
    ever: Mapping[str, int] | None = None
    today: Mapping[str, int] | None = None
    points: Sequence[Point] = ()
    countries: Sequence[tuple[str, int]] = ()
    products: Sequence[ProductScans] = ()
    unlisted_at_most: int = 0
    factories: Sequence[FactoryScans] = ()
    states: Mapping[str, Batches] | None = None
    batch_days: Sequence[tuple[datetime, Batches]] = ()
    window_days: Sequence[tuple[datetime, Windows]] = ()
    waiting_roots: int = 0
    oldest_root: datetime | None = None
    jobs: Sequence[Job] = ()
    users: int = 0
    factory_count: int = 0


class Figures:
    """Tells. Every answer is of one moment. All raise DependencyUnavailable, and FactoryNotFound."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._sql = store.sql
        self._clock = clock

    async def dashboard(self, factory_id: UUID) -> Told:
        """How things are with a factory, or with EVERYBODY."""
        now = self._clock.now()
        async with self._moment(factory_id) as connection:
            return await self._tell(connection, Period.lately(now, factory_id), DASHBOARD, now)

    async def analytics(
        self, factory_id: UUID, grain: str, since: datetime, until: datetime, *, parts: Collection[str]
    ) -> Told:
        """How things were with a factory, or with EVERYBODY. Raises ValidationFailed, PeriodNotKept."""
        now = self._clock.now()
        period = Period.of(grain, since, until, factory_id=factory_id, now=now)
        async with self._moment(factory_id) as connection:
            return await self._tell(connection, period, parts or ANALYTICS, now)

    @asynccontextmanager
    async def _moment(self, factory_id: UUID) -> AsyncIterator[Connection]:
        async with self._store.connection() as connection:
            async with connection.transaction(isolation="repeatable_read", readonly=True):
                if factory_id != EVERYBODY and not await self._sql.knows_factory(connection, factory_id=factory_id):
                    raise FactoryNotFound(factory_id=factory_id)
                yield connection

    async def _tell(self, connection: Connection, period: Period, parts: Collection[str], now: datetime) -> Told:
        if period.factory_id != EVERYBODY:
            parts = frozenset(parts) - OF_EVERYBODY
        as_of = {row["source"]: row["as_of"] async for row in self._sql.read_as_of(connection)}
        told = Told(as_of, parts, now)
        for part, read in (
            (SCANS, self._scans),
            (COUNTRIES, self._countries),
            (TOTALS, self._totals),
            (PRODUCTS, self._products),
            (FACTORIES, self._factories),
            (BATCHES, self._batches),
            (ANCHORING, self._windows),
        ):
            if part in parts:
                await read(connection, period, told)
        if JOBS in parts:
            told.jobs = [Job(*row) async for row in self._sql.read_jobs(connection)]
        if ACCOUNTS in parts:
            row = await self._sql.read_accounts(connection)
            told.users, told.factory_count = row["users"], row["factories"]
        return told

    async def _scans(self, connection: Connection, period: Period, told: Told) -> None:
        rows = self._sql.read_scans(
            connection, grain=period.grain, factory_id=period.factory_id, since=period.since, until=period.until
        )
        found = {row["since"]: dict(row) async for row in rows}
        told.points = [Point(since, found.get(since, {})) for since in period.spans()]

    async def _countries(self, connection: Connection, period: Period, told: Told) -> None:
        if SCANS not in told.parts:
            await self._scans(connection, period, told)
        scans: Counter[str] = Counter()
        for point in told.points:
            if point.counts:
                scans.update(orjson.loads(str(point.counts["countries"])))
        told.countries = sorted(scans.items(), key=lambda item: (-item[1], item[0]))

    async def _factories(self, connection: Connection, period: Period, told: Told) -> None:
        since, until = period.days
        rows = self._sql.read_factories(connection, since=since, until=until, most=LISTED)
        told.factories = [FactoryScans(*row) async for row in rows]

    async def _totals(self, connection: Connection, period: Period, told: Told) -> None:
        told.ever = dict(await self._sql.read_all_scans(connection, factory_id=period.factory_id))
        today = midnight(told.now.date())
        rows = self._sql.read_scans(
            connection, grain=DAY, factory_id=period.factory_id, since=today, until=today + timedelta(days=1)
        )
        told.today = total([Point(row["since"], dict(row)) async for row in rows])

    async def _products(self, connection: Connection, period: Period, told: Told) -> None:
        since, until = period.days
        rows = self._sql.read_products(connection, factory_id=period.factory_id, since=since, until=until)
        told.products, told.unlisted_at_most = together([ProductList(*row) async for row in rows], LISTED)

    async def _batches(self, connection: Connection, period: Period, told: Told) -> None:
        since, until = period.days
        days: dict[date, Batches] = {}
        states: dict[str, Batches] = {}
        async for row in self._sql.read_batches(connection, factory_id=period.factory_id, since=since, until=until):
            more = Batches(row["batches"], row["products"])
            days[row["day"]] = _added(days.get(row["day"], Batches()), more)
            states[row["state"]] = _added(states.get(row["state"], Batches()), more)
        if TOTALS in told.parts:
            rows = self._sql.read_all_batches(connection, factory_id=period.factory_id)
            states = {row["state"]: Batches(row["batches"], row["products"]) async for row in rows}
        told.states = states
        told.batch_days = [(midnight(day), days.get(day, Batches())) for day in _days(since, until)]

    async def _windows(self, connection: Connection, period: Period, told: Told) -> None:
        since, until = period.days
        rows = self._sql.read_windows(connection, since=since, until=until)
        days = {row["day"]: Windows(*tuple(row)[1:]) async for row in rows}
        told.window_days = [(midnight(day), days.get(day, Windows())) for day in _days(since, until)]
        backlog = await self._sql.read_root_backlog(connection)
        if backlog is not None:
            told.waiting_roots, told.oldest_root = backlog["roots"], backlog["oldest_at"]


def scope(caller: Principal, asked: UUID | None) -> UUID:
    """Whose figures a person gets who asks for a factory's or for none in particular. Raises FactoryNotFound."""
    if not caller.roles & set(FACTORY_ROLES) and asked != EVERYBODY:
        return asked or EVERYBODY
    own = caller.factory_id
    if own is None or asked not in (None, own):
        raise FactoryNotFound(factory_id=asked)
    return own


def total(points: Sequence[Point]) -> Mapping[str, int]:
    """The scans of all points together; products are of a day, and so in no sum."""
    counts: Counter[str] = Counter()
    for point in points:
        counts.update({name: point.counts.get(name, 0) for name in COUNTED[:-1]})
    return counts


def all_windows(days: Sequence[tuple[datetime, Windows]]) -> Windows:
    """The windows of all days together."""
    windows = [found for _, found in days]
    return Windows(
        windows=sum(found.windows for found in windows),
        roots=sum(found.roots for found in windows),
        gas_used=sum(found.gas_used for found in windows),
        fee_wei=sum((found.fee_wei for found in windows), Decimal(0)),
        total_ms=sum(found.total_ms for found in windows),
        most_ms=max((found.most_ms for found in windows), default=0),
    )


def _added(one: Batches, other: Batches) -> Batches:
    return Batches(one.batches + other.batches, one.products + other.products)


def _days(since: date, until: date) -> list[date]:
    return [since + timedelta(days=number) for number in range((until - since).days)]
