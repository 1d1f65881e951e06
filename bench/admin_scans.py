"""Scans by the million in scan.events, made by PostgreSQL itself: each month as a table that becomes a partition.

All of a scan follows from its place in the ledger. Places come at the same pace all the time, as do products, of which
half were issued before the first scan; a product is scanned after it was issued. A third of the scans are of the first
hundredth of the products. Of a thousand scans 20 are SUSPICIOUS, 5 LIKELY_COPY, 3 BLOCKED, and 15 genuine with a risk
from 20 to 39; one in 20 has no risk; the card of one product in 500 could not be read. They come from 40 countries,
more from the first. What the risk was worked out from is left out, or a scan would take twice the room.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg

Connection = "asyncpg.Connection[Any]"
Connect = Callable[[], Awaitable["asyncpg.Connection[Any]"]]
AT_ONCE = 2
LONG = 3600.0

HASHED_ID = """
CREATE FUNCTION public.hashed_id(ms bigint, number bigint, seed bigint) RETURNS uuid LANGUAGE sql IMMUTABLE
RETURN ('0' || to_hex(ms) || '7000'
  || to_hex((hashint8extended(number, seed) & 1152921504606846975) | (-9223372036854775807 - 1)))::uuid
"""
"""A UUIDv7 of milliseconds since 1970 and a number; those of different milliseconds, or numbers, differ."""
COUNTRIES = "BRUSPTESARMXDEFRITGBCLCOPEUYPYBOECVEJPCNKRINZAAOMZNGEGMATRPLNLBESENOFIDKCHATIECA"
TABLE = """
CREATE TABLE scan.{name} (LIKE scan.events INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING STORAGE)
"""
# OFFSET 0: else each expression is worked out again wherever its name stands.
SCANS = """
INSERT INTO scan.{name} (product_id, event_id, at, batch_id, factory_id, verdict, risk, factors, risk_version,
  weights_version, personal, country, source, facts, ledger_index, leading_factor, scan_count)
SELECT public.hashed_id($5::bigint + floor(product * $6::float8)::bigint, product, 1),
  public.hashed_id(ms, number, 2), to_timestamp(ms / 1000.0),
  CASE WHEN product % 500 <> 7 THEN ($7::uuid[])[1 + product / 1000] END,
  CASE WHEN product % 500 <> 7 THEN ($8::uuid[])[1 + product / 1000] END,
  verdict,
  CASE WHEN number % 20 = 7 THEN NULL WHEN verdict = 3 THEN 70 + points % 31 WHEN verdict = 2 THEN 40 + points % 30
    WHEN verdict = 4 THEN points % 101 WHEN dice < 43 THEN 20 + points % 20 ELSE points % 20 END,
  '{{}}', 1, '1', '\\x{zeros}', ($9::text[])[1 + points * points / 26214],
  1 + number % 2, '{{}}', number, nullif(points % 8, 0), 1 + dice % 7
FROM (
  SELECT *, CASE WHEN dice < 5 THEN 3 WHEN dice < 25 THEN 2 WHEN dice < 28 THEN 4 ELSE 1 END AS verdict
  FROM (
    SELECT number, $3::bigint + floor(number * $4::float8)::bigint AS ms,
      (hash >> 10 & 1023) AS points, (hash >> 20 & 67108863) % 1000 AS dice,
      (hashint8extended(number, 3) & 4611686018427387903) % greatest(
        ($10::bigint * (1 + number::float8 / $11::bigint) / CASE WHEN number % 3 = 0 THEN 200 ELSE 2 END)::bigint, 1
      ) AS product
    FROM (
      SELECT number, hashint8extended(number, 4) & 4611686018427387903 AS hash
      FROM generate_series($1::bigint, $2::bigint - 1) AS number OFFSET 0
    ) AS hashed OFFSET 0
  ) AS made OFFSET 0
) AS scan
"""
BOUND = """
ALTER TABLE scan.{name} ADD PRIMARY KEY (product_id, event_id);
ALTER TABLE scan.{name} ADD CHECK (event_id >= scan.first_id_of('{since}') AND event_id < scan.first_id_of('{until}'))
"""
INDEXES = """
SELECT replace(replace(pg_get_indexdef(indexrelid), ' ON ONLY scan.events ', ' ON scan.{name} '),
  format('INDEX %I', relname), 'INDEX')
FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid
WHERE indrelid = 'scan.events'::regclass AND NOT indisprimary
"""
ATTACH = """
ALTER TABLE scan.events ATTACH PARTITION scan.{name}
FOR VALUES FROM (scan.first_id_of('{since}')) TO (scan.first_id_of('{until}'))
"""


@dataclass(frozen=True, slots=True)
class Size:
    """How much there is: scans, products (whole thousands), factories, and days that scans are spread over up to `end`.

    Products are issued over twice as many days.
    """

    scans: int
    products: int
    end: datetime
    factories: int = 200
    days: int = 90

    @property
    def start(self) -> datetime:
        """When the first is scanned."""
        return self.end - timedelta(days=self.days)

    @property
    def issued_since(self) -> datetime:
        """When the first product is issued."""
        return self.end - timedelta(days=2 * self.days)

    @property
    def scan_ms(self) -> float:
        """Milliseconds from one scan to the next."""
        return self.days * 86_400_000 / self.scans

    @property
    def product_ms(self) -> float:
        """Milliseconds from one product to the next."""
        return 2 * self.days * 86_400_000 / self.products

    def first_scan(self, moment: datetime) -> int:
        """The place of the first scan at or after a moment, as PostgreSQL works out times out of places."""
        milliseconds = round((moment - self.start).total_seconds() * 1000)
        place = max(int(milliseconds / self.scan_ms) - 2, 0)
        while int(place * self.scan_ms) < milliseconds:
            place += 1
        return min(place, self.scans)

    def first_product(self, moment: datetime) -> int:
        """The number of the first product issued at or after a moment."""
        issued = Size(self.products, self.scans, self.end, days=2 * self.days)
        return issued.first_scan(moment)


@dataclass(frozen=True, slots=True)
class Month:
    """A partition."""

    name: str
    since: datetime
    until: datetime


def months(prefix: str, since: datetime, until: datetime) -> list[Month]:
    """Those (UTC) that touch a stretch of time."""
    found, first = [], since.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    while first < until:
        after = (first + timedelta(days=31)).replace(day=1)
        found.append(Month(f"{prefix}_{first:%Y_%m}", first, after))
        first = after
    return found


def milliseconds(moment: datetime) -> int:
    """Since 1970."""
    return round(moment.timestamp() * 1000)


async def side_by_side(connect: Connect, works: Iterable[Callable[[Any], Awaitable[None]]]) -> None:
    """Does all of it in this order, AT_ONCE at a time, each on a connection that is given to it."""
    waiting = iter(works)

    async def some() -> None:
        connection = await connect()
        try:
            for work in waiting:
                await work(connection)
        finally:
            await connection.close()

    async with asyncio.TaskGroup() as group:
        for _ in range(AT_ONCE):
            group.create_task(some())


async def drop(owner: "asyncpg.Connection[Any]", schema: str, partitions: Iterable[Month]) -> None:
    """Removes those that migrations have made, empty; before any other is made, since it waits for all who do."""
    for month in partitions:
        await owner.execute(f"DROP TABLE IF EXISTS {schema}.{month.name}")


async def fill_events(connect: Connect, size: Size, batches: Sequence[UUID], owners: Sequence[UUID]) -> None:
    """Makes all scans, of products whose batch and factory stand at a thousandth of their number."""
    found = months("events", size.start, size.end)
    found.sort(key=lambda month: min(month.until, size.end) - max(month.since, size.start), reverse=True)
    owner = await connect()
    await drop(owner, "scan", found)
    await side_by_side(connect, [_month(month, size, batches, owners) for month in found])
    await owner.execute(
        "INSERT INTO scan.ledger (origin, size, last) VALUES ('bench', $1, decode(repeat('00', 32), 'hex'))", size.scans
    )
    await owner.close()


def _month(
    month: Month, size: Size, batches: Sequence[UUID], owners: Sequence[UUID]
) -> Callable[["asyncpg.Connection[Any]"], Awaitable[None]]:
    names = {"name": month.name, "since": month.since.replace(tzinfo=None), "until": month.until.replace(tzinfo=None)}
    countries = [COUNTRIES[at : at + 2] for at in range(0, len(COUNTRIES), 2)]

    async def make(connection: "asyncpg.Connection[Any]") -> None:
        async with connection.transaction():  # of a table made in the same one nothing goes to the log (WAL)
            await connection.execute(TABLE.format(**names))
            await connection.execute(
                SCANS.format(zeros="00" * 32, **names),
                size.first_scan(month.since), size.first_scan(month.until),
                milliseconds(size.start), size.scan_ms, milliseconds(size.issued_since), size.product_ms,
                batches, owners, countries, size.products, size.scans, timeout=LONG,
            )  # fmt: skip
            await connection.execute(BOUND.format(**names), timeout=LONG)
            for [statement] in await connection.fetch(INDEXES.format(**names)):
                await connection.execute(statement, timeout=LONG)
        await connection.execute(ATTACH.format(**names), timeout=LONG)

    return make
