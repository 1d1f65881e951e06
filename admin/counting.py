"""What a stretch of scans adds to the figures. Pure: the same scans in the same order add the same.

Hours and days are those (UTC) of the time in a scan's id, whenever it came: what comes late counts where it belongs.
"""

from collections import Counter
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import NamedTuple
from uuid import UUID

EVERYBODY = UUID(int=2**128 - 1)
"""Stands for all factories together, scans whose factory is not known included."""
HOUR, DAY = "hour", "day"
VERDICTS = ("genuine", "suspicious", "likely_copy", "blocked", "unknown")
"""As the journal numbers them, from 1 on."""
RISKS = tuple(f"risk_{tens * 10}" for tens in range(10))
COUNTED = ("scans", *VERDICTS, *RISKS, "risk_total", "first_scans", "products")


class Scan(NamedTuple):
    """A scan as the journal has it; `factory_id` None when the card could not be read, `risk` 0 to 100 or None."""

    event_id: UUID
    product_id: UUID
    factory_id: UUID | None
    at: datetime
    verdict: int
    risk: int | None
    country: str


class Span(NamedTuple):
    """An hour or a day of a factory, or of everybody."""

    grain: str
    factory_id: UUID
    since: datetime


class Counted(NamedTuple):
    """A product's scans on a day, and before what was added: all of them, and those whose factory is known."""

    day: date
    product_id: UUID
    scans: int
    known: int
    scans_before: int
    known_before: int


class Standing(NamedTuple):
    """How often a product was scanned on a day, as far as it is known that it is the factory's."""

    factory_id: UUID
    day: date
    product_id: UUID
    scans: int


@dataclass(frozen=True, slots=True)
class Increments:
    """What is to be added: by span one of COUNTED, by span and country, by day and product."""

    scans: dict[Span, Counter[str]] = field(default_factory=dict)
    countries: dict[Span, Counter[str]] = field(default_factory=dict)
    products: Counter[tuple[date, UUID]] = field(default_factory=Counter)
    known: Counter[tuple[date, UUID]] = field(default_factory=Counter)
    owners: dict[UUID, UUID] = field(default_factory=dict)

    @classmethod
    def of(cls, scans: Sequence[Scan], new: Set[UUID]) -> "Increments":
        """Out of scans in the order of the ledger; `new` are the products that no scan was counted of before."""
        found, unseen = cls(), set(new)
        for scan in scans:
            first = scan.product_id in unseen
            unseen.discard(scan.product_id)
            for span in spans(scan):
                _add(found.scans.setdefault(span, Counter()), scan, first=first)
                found.countries.setdefault(span, Counter())[scan.country] += 1
            product = scan.at.date(), scan.product_id
            found.products[product] += 1
            if scan.factory_id is not None:
                found.known[product] += 1
                found.owners[scan.product_id] = scan.factory_id
        return found

    def add_products(self, counted: Sequence[Counted]) -> list[Standing]:
        """Adds the products that were scanned for the first time on a day; how often those of `counted` were."""
        standings = []
        for row in counted:
            for factory_id, scans, before in (
                (EVERYBODY, row.scans, row.scans_before),
                (self.owners.get(row.product_id), row.known, row.known_before),
            ):
                if factory_id is None or scans == before:
                    continue
                standings.append(Standing(factory_id, row.day, row.product_id, scans))
                if not before:
                    self.scans[Span(DAY, factory_id, midnight(row.day))]["products"] += 1
        return standings


def spans(scan: Scan) -> Iterator[Span]:
    """Every hour and day that a scan counts in."""
    hour = scan.at.replace(minute=0, second=0, microsecond=0)
    for factory_id in (EVERYBODY, scan.factory_id):
        if factory_id is not None:
            yield Span(HOUR, factory_id, hour)
            yield Span(DAY, factory_id, hour.replace(hour=0))


def _add(counts: Counter[str], scan: Scan, *, first: bool) -> None:
    counts["scans"] += 1
    if 1 <= scan.verdict <= len(VERDICTS):
        counts[VERDICTS[scan.verdict - 1]] += 1
    if scan.risk is not None:
        counts[RISKS[min(scan.risk // 10, 9)]] += 1
        counts["risk_total"] += scan.risk
    if first:
        counts["first_scans"] += 1


def midnight(day: date) -> datetime:
    """When a day begins (UTC)."""
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def first_id(moment: datetime) -> UUID:
    """No UUIDv7 made at or after this time is smaller."""
    return UUID(int=int(moment.timestamp()) * 1000 << 80)
