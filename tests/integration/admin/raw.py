"""What figures are counted from, written as the services write it; and the figures counted anew from all of it.

The counting here is Python over every raw row, and shares nothing with admin.counting or the statements of admin.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from random import Random
from typing import Any
from uuid import UUID

import asyncpg
from voketag.admin.v1 import dashboard_pb2 as pb

from mesh.ledger import Ledger
from scan.event import Row
from scan.journal import Journal
from trust.ledger import NOTHING_PERSONAL

COUNTRIES = ("BR", "BR", "BR", "US", "PT", "")
VERDICTS = (1, 1, 1, 1, 2, 3, 4, 5)
RISKS = (None, 0, 3, 9, 10, 55, 89, 90, 99, 100)
ROLES = ("scan", "factory", "anchor")


def uuid7(at: datetime, random: Random) -> UUID:
    raw = int(at.timestamp() * 1000) << 80 | random.getrandbits(80)
    return UUID(int=raw & ~(0xF << 76) & ~(3 << 62) | 7 << 76 | 2 << 62)


def raw_scan(at: datetime, product_id: UUID, factory_id: UUID | None, random: Random, **more: Any) -> Row:
    event_id = uuid7(at, random)
    values: dict[str, Any] = {
        "product_id": product_id,
        "event_id": event_id,
        "at": datetime.fromtimestamp((event_id.int >> 80) / 1000, UTC),
        "batch_id": None,
        "factory_id": factory_id,
        "verdict": random.choice(VERDICTS),
        "risk": random.choice(RISKS),
        "factors": b"{}",
        "risk_version": 1,
        "weights_version": "1",
        "prefix_hmac": None,
        "device_hmac": None,
        "blind": None,
        "personal": NOTHING_PERSONAL,
        "country": random.choice(COUNTRIES),
        "source": 1,
        "facts": b"{}",
        "leading_factor": None,
        "scan_count": None,
    }
    return Row(**(values | more))


def earliest() -> datetime:
    """From when on there are months for scans."""
    return (datetime.now(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0) - timedelta(days=1)).replace(
        day=1
    )


class People:
    """Factories with products, whose scans come as it happens: some late by weeks, some of cards that are not read."""

    def __init__(self, seed: int, *, factories: int = 4, products: int = 12) -> None:
        self.random = Random(seed)
        self.factories = [uuid7(earliest(), self.random) for _ in range(factories)]
        self.owners = {uuid7(earliest(), self.random): factory for factory in self.factories for _ in range(products)}

    def scans(self, count: int) -> list[Row]:
        products, seconds = list(self.owners), (datetime.now(UTC) - earliest()).total_seconds()
        rows = []
        for _ in range(count):
            product = products[min(int(self.random.expovariate(6 / len(products))), len(products) - 1)]
            ago = self.random.choice((0, 0, 3_600, 86_400, seconds)) * self.random.random()
            known = self.owners[product] if self.random.random() < 0.9 else None
            rows.append(raw_scan(datetime.now(UTC) - timedelta(seconds=ago), product, known, self.random))
        return rows


class Raw:
    """Writes under the roles of the services."""

    def __init__(self, connections: dict[str, "asyncpg.Connection[asyncpg.Record]"]) -> None:
        self.connections = connections
        self.journal = Journal(Ledger("raw.test/ledger"))

    async def record(self, rows: Sequence[Row]) -> None:
        assert await self.journal.record(self.connections["scan"], rows) == len(rows)

    async def fetch(self, service: str, query: str, *args: object) -> list[Any]:
        return await self.connections[service].fetch(query, *args)

    async def execute(self, service: str, query: str, *args: object) -> None:
        await self.connections[service].execute(query, *args)

    async def scans(self) -> list[Any]:
        return await self.fetch("scan", "SELECT * FROM events ORDER BY ledger_index")


@dataclass(frozen=True)
class Window:
    """What is counted anew: everybody's or a factory's, from `since` on and before `until`, by hour or day."""

    since: datetime
    until: datetime
    hours: bool = False
    factory_id: UUID | None = None

    @property
    def step(self) -> timedelta:
        return timedelta(hours=1) if self.hours else timedelta(days=1)

    def begins(self, at: datetime) -> datetime:
        at = at.replace(minute=0, second=0, microsecond=0)
        return at if self.hours else at.replace(hour=0)


def figures(rows: Iterable[Any], first: set[UUID]) -> dict[str, Any]:
    """Scan figures as the contract has them."""
    rows = list(rows)
    scored = [row["risk"] for row in rows if row["risk"] is not None]
    by_verdict = Counter(row["verdict"] for row in rows)
    buckets = Counter(9 if risk == 100 else risk // 10 for risk in scored)
    firsts = sum(row["event_id"] in first for row in rows)
    return {
        "scans": len(rows),
        "genuine_code": by_verdict[1],
        "suspicious": by_verdict[2],
        "likely_copy": by_verdict[3],
        "blocked": by_verdict[4],
        "unknown_code": by_verdict[5],
        "risks": [buckets[number] for number in range(10)],
        "not_scored": len(rows) - len(scored),
        "average_risk": sum(scored) / len(scored) if scored else 0.0,
        "first_scans": firsts,
        "re_scans": len(rows) - firsts,
    }


def told(message: pb.ScanFigures) -> dict[str, Any]:
    """The same out of an answer."""
    return {
        field.name: list(message.risks) if field.name == "risks" else getattr(message, field.name)
        for field in pb.ScanFigures.DESCRIPTOR.fields
    }


def first_events(rows: Iterable[Any]) -> set[UUID]:
    """The events before which the ledger has none of their product."""
    seen: dict[UUID, UUID] = {}
    for row in rows:
        seen.setdefault(row["product_id"], row["event_id"])
    return set(seen.values())


def check_scans(answer: pb.GetAnalyticsResponse, rows: Sequence[Any], window: Window) -> None:
    """Points, total and countries against all rows of the journal."""
    first = first_events(rows)
    mine = [
        row
        for row in rows
        if window.since <= row["at"] < window.until and window.factory_id in (None, row["factory_id"])
    ]
    points: dict[datetime, list[Any]] = defaultdict(list)
    for row in mine:
        points[window.begins(row["at"])].append(row)
    moment = window.since
    for point in answer.scans.points:
        assert point.start_time.ToDatetime(UTC) == moment
        assert told(point.figures) == figures(points[moment], first), moment
        if not window.hours:
            assert point.products == len({row["product_id"] for row in points[moment]}), moment
        moment += window.step
    assert moment == window.until
    assert told(answer.scans.total) == figures(mine, first)
    countries = sorted(Counter(row["country"] for row in mine).items(), key=lambda item: (-item[1], item[0]))
    assert [(row.country_code, row.scans) for row in answer.countries.countries] == countries


def check_factories(answer: pb.GetAnalyticsResponse, rows: Sequence[Any], window: Window) -> None:
    """The list of factories, on the whole days that the window touches."""
    since, until = days_of(window)
    mine = [row for row in rows if since <= row["at"].date() <= until and row["factory_id"] is not None]
    scans = Counter(row["factory_id"] for row in mine)
    suspected = Counter(row["factory_id"] for row in mine if row["verdict"] in (2, 3))
    expected = sorted(scans.items(), key=lambda item: (-item[1], item[0]))[:10]
    found = [(UUID(row.factory_id), row.scans, row.suspected) for row in answer.factories.factories]
    assert found == [(factory, count, suspected[factory]) for factory, count in expected]


def days_of(window: Window) -> tuple[date, date]:
    """The first and the last day that a window touches."""
    return window.since.date(), (window.until - timedelta(microseconds=1)).date()


def products_of(rows: Sequence[Any], window: Window) -> Counter[UUID]:
    """Scans by product on the whole days that the window touches."""
    since, until = days_of(window)
    return Counter(
        row["product_id"]
        for row in rows
        if since <= row["at"].date() <= until and window.factory_id in (None, row["factory_id"])
    )


def check_products(answer: pb.GetAnalyticsResponse, rows: Sequence[Any], window: Window) -> None:
    """The list of products, exactly: every product was kept."""
    expected = sorted(products_of(rows, window).items(), key=lambda item: (-item[1], item[0]))
    assert [(UUID(row.product_id), row.scans, row.scans_at_most) for row in answer.products.products] == [
        (product, scans, scans) for product, scans in expected[:10]
    ]
    assert answer.products.unlisted_at_most == (expected[10][1] if len(expected) > 10 else 0)


def day_of(moment: datetime) -> date:
    return moment.astimezone(UTC).date()
