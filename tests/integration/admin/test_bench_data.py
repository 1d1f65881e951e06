"""Generated data: counted at once it is what the service counts; and what pages read of it, they find by an index."""

import json
from collections.abc import AsyncIterator, Awaitable, Iterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg

from admin.audit import AuditLog, Filter
from admin.counting import DAY, EVERYBODY, HOUR, midnight
from admin.figures import Figures
from admin.rollups import Rollups
from admin.store import Store
from admin.suspicious import SuspiciousScans, Wanted
from admin.users import NEWEST
from bench.admin_data import AUDIT_ORIGIN, fill, person
from bench.admin_scans import Size
from mesh.clock import SystemClock
from mesh.identity import Principal
from mesh.ledger import Ledger
from mesh.paging import PageTokens
from tests.databases import Database, Databases
from tests.integration.admin.figures import SCHEMAS

COUNTED = {
    "scan_rollups": "grain, factory_id, since",
    "factory_rollups": "day, factory_id",
    "product_lists": "factory_id, day",
    "scanned_products": "product_id",
    "product_counts": "day, product_id",
}
LARGE = ("events", "audit_chain", "scan_rollups", "product_lists", "factory_rollups", "fraud_reports")
SOMEBODY = Principal("user", str(UUID(int=0)))


@asynccontextmanager
async def generated(databases: Databases) -> AsyncIterator[tuple[Database, Size]]:
    """Some data of every kind, over more than a month."""
    size = Size(scans=20_000, products=6_000, end=datetime.now(UTC), factories=5, days=35)
    async with databases.clone(*SCHEMAS) as database:
        await fill(lambda: asyncpg.connect(database.dsn), size)
        yield database, size


def pool(database: Database, queries: "dict[str, Any] | None" = None) -> Any:
    """Connections as the service has them; what they are asked goes into `queries`, with its arguments."""

    async def watched(connection: "asyncpg.Connection[Any]") -> None:
        if queries is not None:
            connection.add_query_logger(lambda record: queries.update({record.query: record.args}))

    return asyncpg.create_pool(
        database.url("admin"), password=database.server.password, min_size=1, init=watched,
        server_settings={"search_path": "admin,pg_catalog", "timezone": "UTC"},
    )  # fmt: skip


async def counted(connection: "asyncpg.Connection[Any]", since: Any) -> dict[str, list[tuple[Any, ...]]]:
    """The rows of every table; of those that forget, from a day on."""
    found = {}
    for table, order in COUNTED.items():
        where = "WHERE day >= $1" if table == "product_counts" else "WHERE $1::date IS NOT NULL"
        rows = await connection.fetch(f"SELECT * FROM admin.{table} {where} ORDER BY {order}", since)
        found[table] = [tuple(row) for row in rows]
    return found


async def test_what_is_counted_at_once_is_what_the_service_counts(databases: Databases) -> None:
    async with generated(databases) as (database, size), pool(database) as connections:
        owner = await asyncpg.connect(database.dsn)
        [(position, since)] = await owner.fetch(
            "SELECT position, counted_since FROM admin.rollups WHERE source = 'scans'"
        )
        made = await counted(owner, since)
        assert position == size.scans == sum(row[3] for row in made["scan_rollups"] if row[:2] == (DAY, EVERYBODY))
        assert all(made.values())
        await owner.execute(f"TRUNCATE {', '.join(f'admin.{table}' for table in COUNTED)}")
        await owner.execute(
            "UPDATE admin.rollups SET position = 0, counted_since = '-infinity', as_of = NULL WHERE source = 'scans'"
        )
        await Rollups(Store(connections), SystemClock()).run_once()
        assert await owner.fetchval("SELECT counted_since FROM admin.rollups WHERE source = 'scans'") == since
        again = await counted(owner, since)
        for table in COUNTED:
            assert again[table] == made[table], table
        await owner.close()


def asks(store: Store, size: Size, factory_id: UUID, product_id: UUID) -> list[tuple[str, Awaitable[Any]]]:
    """Every page by every filter, and what an index has to find by."""
    figures, pages = Figures(store, SystemClock()), PageTokens(bytes(32))
    scans, audit = SuspiciousScans(store, pages), AuditLog(store, Ledger(AUDIT_ORIGIN), pages)
    tomorrow = midnight(datetime.now(UTC).date()) + timedelta(days=1)
    days = tomorrow - timedelta(days=10), tomorrow

    async def cases(**asked: Any) -> None:
        named = {"state": None, "product_id": None, "assignee_id": None, "unassigned": False, **asked}
        async with store.connection() as connection:
            async for _ in store.sql.fraud_cases(connection, before=NEWEST, page_size=51, **named):
                pass

    suspicious = {
        "event_id <": Wanted(),
        "event_id >=": Wanted(risk_min=70, factor=3, verdict=2, since=size.start, until=size.end),
        "factory_id =": Wanted(factory_id=factory_id),
        "product_id =": Wanted(product_id=product_id),
    }
    logged = {
        "ROW(at, number) <": Filter(),
        "at >=": Filter(from_time=size.start, to_time=size.end),
        "actor_id =": Filter(actor_kind="user", actor_id=str(person(7))),
        "result =": Filter(method="/voketag.admin.v1.UserService/CreateUser", result="PRECONDITION_FAILED"),
        "method =": Filter(method="/voketag.admin.v1.UserService/CreateUser"),
        "resource =": Filter(resource=f"factory/{product_id}"),
        "source =": Filter(source="scan"),
    }
    return [
        *(("factory_id =", figures.dashboard(whose)) for whose in (EVERYBODY, factory_id)),
        *(("grain =", figures.analytics(EVERYBODY, grain, *days, parts=())) for grain in (HOUR, DAY)),
        *((by, scans.list(SOMEBODY, wanted, page_size=0, page_token="")) for by, wanted in suspicious.items()),
        *((by, audit.page(SOMEBODY, wanted, page_size=0, page_token="")) for by, wanted in logged.items()),
        ("report_id <", cases()),
        ("report_id <", cases(unassigned=True)),
        ("product_id =", cases(product_id=product_id)),
    ]


def nodes(plan: Any) -> Iterator[dict[str, Any]]:
    """All of a plan."""
    yield plan
    for below in plan.get("Plans", ()):
        yield from nodes(below)


def looks_through(node: dict[str, Any]) -> bool:
    """Whether it reads all of a large table, or of its index."""
    large = str(node.get("Relation Name", "")).startswith(LARGE)
    return large and "Bitmap Heap" not in node["Node Type"] and "Index Cond" not in node


async def test_pages_find_what_they_read_by_an_index(databases: Databases) -> None:
    queries: dict[str, Any] = {}
    async with generated(databases) as (database, size), pool(database, queries) as connections:
        owner = await asyncpg.connect(database.dsn)
        await owner.execute("VACUUM ANALYZE")
        await Rollups(Store(connections), SystemClock()).run_once()
        [(factory_id, product_id)] = await owner.fetch(
            "SELECT factory_id, product_id FROM scan.events WHERE verdict = 3 AND factory_id IS NOT NULL LIMIT 1"
        )
        empty = {row[0] for row in await owner.fetch("SELECT relname FROM pg_class WHERE reltuples = 0")}
        await owner.execute("SET search_path = admin, pg_catalog")
        # So small a table is looked through where it may be: what is asked here is whether there is another way.
        await owner.execute("SET enable_seqscan = off")
        read = set()
        for by, ask in asks(Store(connections), size, factory_id, product_id):
            queries.clear()
            await ask
            found = [node for query, args in queries.items() async for node in explained(owner, query, args)]
            reads = [node for node in found if node.get("Relation Name", "") not in empty]
            assert not [node for node in reads if looks_through(node)], by
            assert any(by in node.get("Index Cond", "") for node in reads), (by, reads)
            read |= {str(node.get("Relation Name")).partition("_2")[0] for node in reads}
        assert read >= set(LARGE)
        await owner.close()


async def explained(
    owner: "asyncpg.Connection[Any]", query: str, arguments: Sequence[Any]
) -> AsyncIterator[dict[str, Any]]:
    """The plan of what was asked, unless it only sets something."""
    if arguments and query.startswith(("SELECT", "WITH")):
        [[plan]] = await owner.fetch(f"EXPLAIN (FORMAT JSON) {query.rstrip().rstrip(';')}", *arguments)
        for node in nodes(json.loads(plan)[0]["Plan"]):
            yield node
