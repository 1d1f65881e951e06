"""A week of a factory, in figures: what its report tells."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from admin.counting import COUNTED, DAY
from admin.exports import first_id
from admin.figures import COUNTRIES, PRODUCTS, SCANS, Figures, Point, total
from admin.product_lists import ProductScans
from admin.store import Store
from mesh.clock import Clock
from mesh.error import FieldViolation
from mesh.errors import FactoryNotFound, ValidationFailed

LISTED = 50
WEEK = timedelta(days=7)


class Week(NamedTuple):
    """A week of ISO 8601, by its Monday; days are UTC."""

    monday: date

    @classmethod
    def named(cls, text: str) -> "Week":
        """Out of `2026-W47`. Raises ValidationFailed."""
        try:
            return cls(date.fromisocalendar(int(text[:4]), int(text[6:]), 1))
        except ValueError:
            violation = FieldViolation("week", "week", "there is no such week")
            raise ValidationFailed(violations=(violation,), summary=f"week: {violation.description}") from None

    @classmethod
    def last(cls, now: datetime) -> "Week":
        """The last week that is over."""
        today = now.date()
        return cls(today - timedelta(days=today.weekday() + 7))

    @property
    def name(self) -> str:
        """`2026-W47`."""
        year, number, _ = self.monday.isocalendar()
        return f"{year}-W{number:02}"

    @property
    def since(self) -> datetime:
        """When it begins."""
        return datetime(self.monday.year, self.monday.month, self.monday.day, tzinfo=UTC)

    @property
    def until(self) -> datetime:
        """When the next one begins."""
        return self.since + WEEK


class Batch(NamedTuple):
    """A batch of the week, and how many products were issued in it."""

    name: str
    state: str
    products: int
    created_at: datetime


class Anomaly(NamedTuple):
    """A scan that raised suspicion."""

    at: datetime
    product_id: UUID
    verdict: str
    risk: int | None
    leading_factor: str | None
    country: str


@dataclass(frozen=True, slots=True)
class WeekFigures:
    """Everything that the report shows; `as_of` is how far scans were counted, None when none were yet."""

    factory_id: UUID
    factory_name: str
    week: Week
    as_of: datetime | None
    days: Sequence[Point]
    before: Mapping[str, int]
    countries: Sequence[tuple[str, int]]
    products: Sequence[ProductScans]
    batch_count: int
    product_count: int
    batches: Sequence[Batch]
    anomalies: Sequence[Anomaly]
    reports: Sequence[tuple[str, int]]

    @property
    def total(self) -> Mapping[str, int]:
        """The scans of the week."""
        counts = total(self.days)
        return {name: counts.get(name, 0) for name in COUNTED[:-1]}


class Weeks:
    """Looks weeks up. Raises DependencyUnavailable when PostgreSQL is away."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._figures = Figures(store, clock)

    async def look_up(self, factory_id: UUID, week: Week) -> WeekFigures:
        """What is known of it now. Raises FactoryNotFound."""
        parts = {SCANS, COUNTRIES, PRODUCTS}
        told = await self._figures.analytics(factory_id, DAY, week.since, week.until, parts=parts)
        before = await self._figures.analytics(factory_id, DAY, week.since - WEEK, week.since, parts={SCANS})
        sql = self._store.sql
        span = {"factory_id": factory_id, "since": week.since, "until": week.until}
        ids = {"factory_id": factory_id, "first": first_id(week.since), "last": first_id(week.until)}
        async with self._store.connection() as connection:
            name = await sql.read_factory_name(connection, factory_id=factory_id)
            if name is None:
                raise FactoryNotFound(factory_id=factory_id)
            count = await sql.count_week_batches(connection, **span)
            return WeekFigures(
                factory_id,
                name,
                week,
                told.as_of.get("scans"),
                told.points,
                before=total(before.points),
                countries=told.countries[:10],
                products=told.products,
                batch_count=count["batches"],
                product_count=count["products"],
                batches=[Batch(*row) async for row in sql.read_week_batches(connection, most=LISTED, **span)],
                anomalies=[Anomaly(*row) async for row in sql.read_week_anomalies(connection, most=LISTED, **ids)],
                reports=[(row["kind"], row["reports"]) async for row in sql.read_week_reports(connection, **ids)],
            )
