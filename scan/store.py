"""What scan has in PostgreSQL: the views of the factory, which it reads, salts, reports, scans to watch, suspicions."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import date
from functools import lru_cache
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import orjson
import structlog
from asyncpg.pool import PoolConnectionProxy

from mesh.api_keys import Credentials
from mesh.database import Connection, load_queries, reached
from scan.card import Card, InForce
from scan.factors import ProductState, Reports
from scan.receipt import Tree
from scan.report import Report
from scan.risk import RiskError, Weights
from scan.suspicion import Suspicion, message_codes
from scan.watching import LiveScan, TopProduct
from trust.tiles import Tile

log = structlog.get_logger()
READ_SECONDS = 1.0
WRITE_SECONDS = 3.0
RETRY_SECONDS = 1.0


class Lane:
    """One connection kept between reads: a pool resets each that comes back, a round trip that reads do not need.

    Reads wait for each other; one that fails or is given up takes its connection with it.
    """

    def __init__(self, pool: "asyncpg.Pool[Any]") -> None:
        self._pool = pool
        self._turn = asyncio.Lock()
        self._connection: PoolConnectionProxy[Any] | None = None

    async def fetch(self, query: str, value: object) -> Sequence[Any]:
        """The rows of a statement with one parameter."""
        async with self._turn:
            if self._connection is not None:
                with suppress(asyncpg.InterfaceError):  # it was lost while nobody read
                    return await self._read(query, value)
            return await self._read(query, value)

    async def _read(self, query: str, value: object) -> Sequence[Any]:
        try:
            if self._connection is None:
                self._connection = await self._pool.acquire(timeout=READ_SECONDS)
            return await self._connection.fetch(query, value, timeout=READ_SECONDS)
        except BaseException:
            connection, self._connection = self._connection, None
            if connection is not None:
                with suppress(asyncpg.InterfaceError):  # a lost one has left the pool already
                    connection.terminate()
            raise


class Store:
    """Products, read only; salts and reports."""

    def __init__(self, pool: "asyncpg.Pool[Any]") -> None:
        self._pool = pool
        self._lane = Lane(pool)
        queries = load_queries(Path(__file__).parent / "sql")
        self._cards: str = queries.cards_by_product.sql
        self._tree: str = queries.tree_by_product.sql
        self.sql = queries

    async def cards(self, product_ids: Sequence[bytes]) -> Mapping[bytes, Card]:
        """The cards of those products that exist, by id of 16 bytes. Raises DependencyUnavailable."""
        with reached():
            rows = await self._lane.fetch(self._cards, [UUID(bytes=product_id) for product_id in product_ids])
        return {row["product_id"].bytes: _card(row) for row in rows}

    async def tree(self, product_id: UUID) -> Tree | None:
        """The part of the batch's tree around a product; None until it is built. Raises DependencyUnavailable."""
        with reached():
            row = await self._pool.fetchrow(self._tree, product_id, timeout=READ_SECONDS)
        if row is None or row["batch_root"] is None:
            return None
        tiles = zip(row["tile_levels"], row["tile_indexes"], row["tile_hashes"], strict=True)
        return Tree(row["batch_root"], row["tree_size"], tuple([Tile(*tile) for tile in tiles]))

    async def salts(self, wanted: Mapping[date, bytes], *, before: date) -> Mapping[date, bytes]:
        """See scan.salts.SaltStore. Raises DependencyUnavailable."""
        with reached():
            async with self._pool.acquire(timeout=READ_SECONDS) as connection, connection.transaction():
                await self.sql.make_salts(connection, days=list(wanted), salts=list(wanted.values()))
                await self.sql.destroy_salts(connection, before=before)
                rows = self.sql.select_salts(connection)
                return {row["day"]: row["salt"] async for row in rows}

    async def credentials(self, prefix: str) -> Credentials | None:
        """See mesh.api_keys.Find."""
        with reached():
            async with self._pool.acquire(timeout=READ_SECONDS) as connection:
                row = await self.sql.api_key(connection, prefix=prefix)
        return None if row is None else Credentials(**dict(row))

    async def watched_end(self) -> int:
        """See scan.watching.Source."""
        with reached():
            async with self._pool.acquire(timeout=READ_SECONDS) as connection:
                return int(await self.sql.watched_end(connection))

    async def scans_after(self, after: int, count: int) -> Sequence[LiveScan]:
        """See scan.watching.Source."""
        with reached():
            async with self._pool.acquire(timeout=READ_SECONDS) as connection:
                return [_scan(row) async for row in self.sql.scans_after(connection, after=after, count=count)]

    async def scans_between(self, after: int, until: int, factory_id: UUID | None) -> Sequence[LiveScan]:
        """See scan.watching.Source."""
        places = {"after": after, "until": until, "factory_id": factory_id}
        with reached():
            async with self._pool.acquire(timeout=READ_SECONDS) as connection:
                return [_scan(row) async for row in self.sql.scans_between(connection, **places)]

    async def totals(self, day: date, factory_id: UUID | None) -> Mapping[int, int]:
        """Scans of a day (UTC) by verdict, of a factory or of all. Raises DependencyUnavailable."""
        with reached():
            async with self._pool.acquire(timeout=READ_SECONDS) as connection:
                rows = self.sql.totals_of(connection, day=day, factory_id=factory_id)
                return {row["verdict"]: row["scans"] async for row in rows}

    async def top_products(self, factory_id: UUID | None, count: int) -> Sequence[TopProduct]:
        """See scan.watching.Source."""
        with reached():
            async with self._pool.acquire(timeout=READ_SECONDS) as connection:
                rows = self.sql.top_products(connection, factory_id=factory_id or UUID(int=0), count=count)
                return [TopProduct(*row.values()) async for row in rows]

    async def claim_suspicions(self, seconds: float, count: int) -> Sequence[Suspicion]:
        """See scan.suspicion.Outbox."""
        with reached():
            async with self._pool.acquire(timeout=READ_SECONDS) as connection:
                rows = self.sql.claim_suspicions(connection, seconds=seconds, count=count)
                return [_suspicion(row) async for row in rows]

    async def settle_suspicion(self, suspicion: Suspicion, refusal: str | None) -> None:
        """See scan.suspicion.Outbox."""
        row = {"product_id": suspicion.product_id, "verdict": suspicion.verdict, "day": suspicion.day}
        with reached():
            async with self._pool.acquire(timeout=READ_SECONDS) as connection:
                await self.sql.settle_suspicion(connection, refusal=refusal, **row)

    async def forget_suspicions(self, days: int) -> None:
        """See scan.suspicion.Outbox."""
        with reached():
            async with self._pool.acquire(timeout=READ_SECONDS) as connection:
                await self.sql.forget_suspicions(connection, days=days)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        """A connection in a transaction that commits when the block ends well, and ends with it when that takes long.

        Raises DependencyUnavailable with the time to come back; whether it has committed is then not known.
        """
        with reached():
            async with self._pool.acquire(timeout=READ_SECONDS) as connection:
                late = asyncio.get_running_loop().call_later(WRITE_SECONDS, connection.terminate)
                try:
                    async with connection.transaction():
                        yield connection
                finally:
                    late.cancel()

    async def turn_salts(self, connection: Connection) -> Sequence[bytes]:
        """The salts of callers' pseudonyms, of today and, if there is one, of yesterday; older ones are destroyed."""
        return [row["salt"] async for row in self.sql.turn_salts(connection)]

    async def forget_requests(self, connection: Connection, most: int) -> int:
        """Forgets so many requests that are older than a day: how many it forgot."""
        forgotten: int = await self.sql.forget_requests(connection, most=most)
        return forgotten

    async def open_case(self, connection: Connection, report: Report, callers: Sequence[bytes]) -> UUID | None:
        """The case that one of these callers opened on the same code within a day; nobody else opens one meanwhile."""
        subject = str(report.product_id or report.code)
        await self.sql.lock_subject(connection, subject=subject)
        columns = {"product_id": report.product_id, "code": report.code}
        case_id: UUID | None = await self.sql.open_case(connection, callers=callers, **columns)
        return case_id

    async def case_of(self, connection: Connection, report_id: UUID) -> UUID:
        """The case of a report that was made before."""
        case_id: UUID = await self.sql.case_of(connection, report_id=report_id)
        return case_id

    async def cases(
        self, *, before: UUID | None, state: str | None, product_id: UUID | None, count: int
    ) -> Sequence[Mapping[str, Any]]:
        """Cases by the fields of scan.cases.Case, newest first, before one, by filter. Raises DependencyUnavailable."""
        wanted = {"before": before, "state": state, "product_id": product_id, "count": count}
        with reached():
            async with self._pool.acquire(timeout=READ_SECONDS) as connection:
                return [dict(row) async for row in self.sql.list_cases(connection, **wanted)]

    async def case(self, connection: Connection, case_id: UUID) -> Mapping[str, Any] | None:
        """A case by the fields of scan.cases.Case."""
        row = await self.sql.one_case(connection, case_id=case_id)
        return None if row is None else dict(row)

    async def set_case_state(
        self, connection: Connection, case_id: UUID, *, state: str, note: str, expected: str | None
    ) -> str | None:
        """Changes a case: the state that it had; None, and no change, when that was not the `expected` one."""
        columns = {"case_id": case_id, "state": state, "note": note, "expected": expected}
        before: str | None = await self.sql.set_case_state(connection, **columns)
        return before

    async def report_tallies(self, product_ids: Sequence[UUID]) -> Mapping[UUID, Reports]:
        """See scan.tallies.Source."""
        with reached():
            async with self._pool.acquire(timeout=READ_SECONDS) as connection:
                rows = self.sql.report_tallies(connection, product_ids=product_ids)
                return {row["product_id"]: Reports(row["open"], row["confirmed"]) async for row in rows}

    async def reported_products(self, after: UUID, count: int) -> Sequence[UUID]:
        """See scan.tallies.Source."""
        with reached():
            async with self._pool.acquire(timeout=READ_SECONDS) as connection:
                rows = self.sql.reported_products(connection, after=after, count=count)
                return [row["product_id"] async for row in rows]

    async def insert_report(
        self, connection: Connection, report: Report, *, report_id: UUID, case_id: UUID, caller: bytes
    ) -> None:
        """A report and, apart from it, its contact."""
        await self.sql.insert_report(
            connection,
            report_id=report_id,
            case_id=case_id,
            kind=report.kind,
            text=report.text,
            product_id=report.product_id,
            code=report.code,
            caller=caller,
            photo_sha256=report.photo.sha256 if report.photo else None,
            photo_media_type=report.photo.media_type if report.photo else None,
            country_code=report.country_code,
        )
        if report.contact:
            await self.sql.insert_contact(connection, report_id=report_id, contact=report.contact)


def _card(row: Any) -> Card:
    return Card(
        product_id=row["product_id"],
        batch_id=row["batch_id"],
        factory_id=row["factory_id"],
        index=row["product_index"],
        kid=row["kid"],
        product_state=ProductState(row["product_state"]),
        batch_state=row["batch_state"],
        factory_name=row["factory_name"],
        attributes=orjson.loads(row["attributes"]),
        weights=_weights(row["risk_weights"]),
        ruling=_in_force(row),
    )


def _in_force(row: Any) -> InForce | None:
    blocked, revoked, cleared_at = row["blocked"], row["revoked"], row["cleared_at"]
    if blocked is None:  # no row at all
        return None
    return InForce(blocked, revoked, int(cleared_at.timestamp()) if cleared_at is not None else 0)


def _scan(row: Any) -> LiveScan:
    names = "event_id", "product_id", "batch_id", "factory_id", "at", "country", "verdict", "risk", "leading_factor"
    return LiveScan(row["ledger_index"], *[row[name] for name in names])


def _suspicion(row: Any) -> Suspicion:
    codes = message_codes(row["factors"], row["facts"])
    return Suspicion(row["product_id"], row["verdict"], row["day"], row["event_id"], row["risk"] or 0, codes)


@lru_cache(maxsize=1_024)
def _weights(text: str | None) -> Weights | None:
    """One object for all cards of a factory. What cannot be read is as if there were none: a scan goes on."""
    try:
        return None if text is None else Weights.from_json(text)
    except RiskError as error:
        log.error("weights of a factory cannot be read", weights=text, reason=str(error))
        return None
