"""Exports: what people may have as a table, and its bytes as they are made.

The rows come from a cursor, so that a table is as it was in one moment, and only some pages of it are in memory however
large it is. A reader that is slow, or goes away, holds one of the few places for exports and no other call.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from admin.errors import ExportTooLarge
from admin.store import Store
from mesh import audit
from mesh.ahead import ahead
from mesh.errors import AccessDenied, RateLimited
from mesh.identity import Principal
from mesh.tables import Column, CsvWriter, JsonLinesWriter, Kind, TableFormat, TableWriter
from mesh.workbook import WorkbookWriter

PAGE_ROWS = 2_000
PIECE_BYTES = 1 << 20
SMALL_BYTES = 2 << 20
STREAMS_AT_ONCE = 4
"""Of one process; each has a connection for itself."""
STREAMS_SECONDS = 5.0
PAGE_SECONDS = 600.0
"""A page may be far away: a cursor that looks for a small factory's scans goes over everybody's."""
IDLE_SECONDS = 300.0
"""A cursor keeps what was deleted since it began from being cleaned away."""
NEVER = datetime(9000, 1, 1, tzinfo=UTC)
BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)

Page = Sequence[Sequence[Any]]


class ExportKind(StrEnum):
    """What an export is of; the names are the contract's."""

    USERS = "USERS"
    SCANS = "SCANS"
    PRODUCTS = "PRODUCTS"
    REPORTS = "REPORTS"
    AUDIT = "AUDIT"


OF_FACTORIES = frozenset({ExportKind.SCANS, ExportKind.PRODUCTS})
"""What managers export of their own factory."""

COLUMNS: Mapping[ExportKind, tuple[Column, ...]] = {
    ExportKind.USERS: (
        Column("user_id"),
        Column("email", Kind.TEXT),
        Column("name", Kind.TEXT),
        *map(Column, ("role", "factory_id", "state", "create_time", "update_time")),
    ),
    ExportKind.SCANS: (
        *map(Column, ("scan_id", "scan_time", "product_id", "batch_id", "factory_id", "verdict")),
        Column("risk", Kind.NUMBER),
        *map(Column, ("leading_factor", "country_code", "source")),
    ),
    ExportKind.PRODUCTS: (
        *map(Column, ("product_id", "batch_id")),
        Column("batch_name", Kind.TEXT),
        Column("factory_id"),
        Column("factory_name", Kind.TEXT),
        Column("index", Kind.NUMBER),
        Column("state"),
        Column("attributes", Kind.JSON),
    ),
    ExportKind.REPORTS: (
        *map(Column, ("report_id", "case_id", "report_time", "state", "kind", "product_id")),
        Column("code", Kind.TEXT),
        Column("country_code", Kind.TEXT),
        Column("text", Kind.TEXT),
        Column("note", Kind.TEXT),
        Column("contact", Kind.TEXT),
    ),
    ExportKind.AUDIT: (
        Column("number", Kind.NUMBER),
        *map(Column, ("source", "audit_id", "time", "actor_kind")),
        Column("actor_id", Kind.TEXT),
        *map(Column, ("actor_role", "method")),
        Column("resource", Kind.TEXT),
        *map(Column, ("request_id", "address_prefix", "result")),
        Column("detail", Kind.JSON),
    ),
}


@dataclass(frozen=True, slots=True)
class Wanted:
    """A table: rows from `from_time` on and before `to_time`, of one factory or of all."""

    kind: ExportKind
    format: TableFormat
    from_time: datetime | None = None
    to_time: datetime | None = None
    factory_id: UUID | None = None

    @property
    def name(self) -> str:
        """What the file is called."""
        return f"{self.kind.lower()}.{SUFFIXES[self.format]}"

    @property
    def media_type(self) -> str:
        """What the file is."""
        return MEDIA_TYPES[self.format]


SUFFIXES = {TableFormat.CSV: "csv", TableFormat.JSON_LINES: "jsonl", TableFormat.XLSX: "xlsx"}
MEDIA_TYPES = {
    TableFormat.CSV: "text/csv",
    TableFormat.JSON_LINES: "application/jsonl",
    TableFormat.XLSX: "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
}


def role_of(actor: Principal) -> str:
    """The one role of a person."""
    (role,) = actor.roles
    return role


def permitted(actor: Principal, wanted: Wanted) -> Wanted:
    """What of it this person may have: managers their own factory's. Raises AccessDenied when that is nothing."""
    if role_of(actor) in ("admin", "auditor"):
        return wanted
    own = actor.factory_id
    if own is None or wanted.kind not in OF_FACTORIES or wanted.factory_id not in (None, own):
        raise AccessDenied
    return replace(wanted, factory_id=own)


def writer_of(wanted: Wanted) -> TableWriter:
    """What writes it."""
    columns = COLUMNS[wanted.kind]
    match wanted.format:
        case TableFormat.CSV:
            return CsvWriter(columns)
        case TableFormat.JSON_LINES:
            return JsonLinesWriter(columns)
        case TableFormat.XLSX:
            return WorkbookWriter(columns, title=wanted.kind.capitalize())


def first_id(at: datetime) -> UUID:
    """No UUIDv7 made at or after this time is smaller."""
    return UUID(int=int(at.timestamp() * 1000) << 80)


class Tables:
    """Reads tables out of the database, page by page. Raises DependencyUnavailable when that is away.

    Whoever does not ask for the next page for `idle_seconds` loses the cursor, and hears of it when they do.
    """

    def __init__(self, store: Store, *, idle_seconds: float = IDLE_SECONDS) -> None:
        self._store = store
        self._idle = idle_seconds

    async def pages(self, wanted: Wanted, *, contacts: bool) -> AsyncGenerator[Page, None]:
        """The rows, in pages; `contacts` of who reported only for admins."""
        start, end = wanted.from_time or BEGINNING, wanted.to_time or NEVER
        ids, times = {"first": first_id(start), "last": first_id(end)}, {"from_time": start, "to_time": end}
        values: Mapping[ExportKind, dict[str, object]] = {
            ExportKind.SCANS: {**ids, **times},
            ExportKind.REPORTS: {**ids, "contacts": contacts},
            ExportKind.AUDIT: {**times},
        }
        statement = getattr(self._store.sql, f"export_{wanted.kind.lower()}_cursor")
        async with self._store.transaction() as connection:
            await self._store.sql.limit_idle(connection, milliseconds=str(int(self._idle * 1000)))
            async with statement(connection, factory_id=wanted.factory_id, **values.get(wanted.kind, ids)) as opening:
                cursor = await opening
                while page := await cursor.fetch(PAGE_ROWS, timeout=PAGE_SECONDS):
                    yield page


class Exports:
    """Exports to people who wait for it."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._tables = Tables(store)
        self._closing = asyncio.Event()
        self._streams = 0

    def close(self) -> None:
        """Ends the exports under way: the server drains."""
        self._closing.set()

    async def stream(self, actor: Principal, wanted: Wanted) -> AsyncGenerator[bytes, None]:
        """The file in pieces of at most 1 MiB. Raises AccessDenied, RateLimited, ShuttingDown."""
        wanted = permitted(actor, wanted)
        async with self._place():
            await self._record(wanted)
            writer = writer_of(wanted)
            contacts = role_of(actor) == "admin"
            pages = ahead(self._tables.pages(wanted, contacts=contacts), 1, self._closing)
            async with aclosing(pages):
                for piece in pieces(writer.begin()):
                    yield piece
                async for page in pages:
                    for piece in pieces(writer.add(page)):
                        yield piece
                for piece in pieces(writer.end()):
                    yield piece

    async def small(self, actor: Principal, wanted: Wanted) -> bytes:
        """The whole file. Raises ExportTooLarge, and what `stream` raises."""
        whole = bytearray()
        async with aclosing(self.stream(actor, wanted)) as stream:
            async for piece in stream:
                whole += piece
                if len(whole) > SMALL_BYTES:
                    raise ExportTooLarge(limit=SMALL_BYTES)
        return bytes(whole)

    @asynccontextmanager
    async def _place(self) -> AsyncIterator[None]:
        if self._streams >= STREAMS_AT_ONCE:
            raise RateLimited(retry_after=STREAMS_SECONDS, seconds=int(STREAMS_SECONDS))
        self._streams += 1
        try:
            yield
        finally:
            self._streams -= 1

    async def _record(self, wanted: Wanted) -> None:
        async with self._store.transaction() as connection:
            resource = f"export/{wanted.kind.lower()}"
            await audit.record(connection, resource=resource, request_id=None, detail=asdict(wanted))


def pieces(data: bytes) -> list[bytes]:
    """Cut to what a message may hold."""
    return [data[start : start + PIECE_BYTES] for start in range(0, len(data), PIECE_BYTES)]
