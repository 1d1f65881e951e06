"""The second wall: with the service's own role, a connection shows the rows of its tenant and no others."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
import pytest_asyncio

from factory import tenants
from factory.store import Store
from factory.tenants import EVERY, Tenant, TenantConnection
from mesh.database import load_queries
from tests.integration.factory.world import Customer, Door, Ground

pytestmark = pytest.mark.asyncio(loop_scope="module")

SQL = Path(tenants.__file__).parent / "sql"
sql = load_queries(SQL)
WALLED = ("factories", "api_keys", "batches", "product_changes", "chunks", "tiles")
UNWALLED = ("products", "product_events")
"""COPY refuses tables with row security, so statements on these name the factory."""

FILL = "INSERT INTO product_changes VALUES ($1, gen_random_uuid(), NULL, 1, 'a', '', 0, 0)"


@pytest_asyncio.fixture(loop_scope="module")
async def own(ground: Ground) -> AsyncIterator[TenantConnection]:
    """The service's role on a connection that was told nothing."""
    connection = await asyncpg.connect(
        ground.database.url("factory"),
        password=ground.database.server.password,
        server_settings={"search_path": "factory,pg_catalog"},
        connection_class=TenantConnection,
    )
    yield connection
    await connection.close()


@pytest.fixture
def raw(own: TenantConnection) -> "asyncpg.Connection[Any]":
    """The same, to be told by hand."""
    return own


@pytest_asyncio.fixture(loop_scope="module")
async def store(ground: Ground) -> AsyncIterator[Store]:
    """A store on one connection, which every tenant gets in turn."""
    settings = ground.database.settings("factory")
    pool = await tenants.connect(settings.model_copy(update={"database_pool_min": 1, "database_pool_max": 1}))
    yield Store(pool)
    pool.terminate()


async def filled(customer: Customer) -> UUID:
    """The id of a batch of the customer, who has rows in every table by then."""
    answer = await customer.order(3, return_products=True, template={"sku": "A"})
    async with customer.door.ground.owner() as owner:
        await owner.execute(FILL, customer.factory_id)
    return UUID(answer.batch.batch_id)


async def show(raw: "asyncpg.Connection[Any]", tenant: object) -> None:
    await raw.execute("SELECT set_config('voketag.tenant', $1, false)", str(tenant))


async def seen(connection: Any) -> dict[str, int]:
    return {table: await connection.fetchval(f"SELECT count(*) FROM {table}") for table in WALLED}


async def explained(connection: Any, query: str) -> str:
    return "\n".join(row[0] for row in await connection.fetch(f"EXPLAIN {query}"))


async def whose(connection: Any) -> set[UUID]:
    return {row["factory_id"] for row in await connection.fetch("SELECT factory_id FROM factories")}


async def test_every_table_that_names_a_factory_is_walled(ground: Ground) -> None:
    async with ground.owner() as owner:
        found = await owner.fetch(
            """
            SELECT relname, relrowsecurity, EXISTS (SELECT FROM pg_policy WHERE polrelid = class.oid) AS policy
            FROM pg_class class JOIN pg_attribute ON attrelid = class.oid AND attname = 'factory_id'
            WHERE relnamespace = 'factory'::regnamespace AND relkind IN ('r', 'p')
            """
        )
    assert {row["relname"] for row in found} >= {"factories", "api_keys", "batches", "product_changes"}
    assert [row["relname"] for row in found if not (row["relrowsecurity"] and row["policy"])] == []


@pytest.mark.parametrize("path", sorted(SQL.glob("*.sql")), ids=lambda path: path.stem)
async def test_every_statement_on_tables_without_a_wall_names_the_factory(path: Path) -> None:
    for statement in path.read_text().split("-- name: ")[1:]:
        body = "\n".join(line for line in statement.splitlines()[1:] if not line.startswith("--"))
        if re.search(rf"\b({'|'.join(UNWALLED)})\b", body):
            assert ":factory_id" in body, statement
            assert re.search(r"\b(batches|product_changes|factories)\b", body), statement


async def test_without_a_tenant_nothing_is_seen(raw: Any, customer: Customer) -> None:
    await filled(customer)
    assert await seen(raw) == dict.fromkeys(WALLED, 0)
    await show(raw, "")
    assert await seen(raw) == dict.fromkeys(WALLED, 0)
    await show(raw, customer.factory_id)
    shown = await seen(raw)
    assert min(shown.values()) > 0, shown
    assert shown["factories"] == 1


async def test_another_tenant_sees_nothing_and_changes_nothing(raw: Any, customer: Customer, door: Door) -> None:
    batch_id = await filled(customer)
    async with door.customer() as other:
        await filled(other)
        await show(raw, other.factory_id)
        assert await whose(raw) == {other.factory_id}
        for table in ("chunks", "tiles", "batches"):
            assert await raw.fetchval(f"SELECT count(*) FROM {table} WHERE batch_id = $1", batch_id) == 0
        assert await raw.execute("UPDATE batches SET name = 'mine' WHERE batch_id = $1", batch_id) == "UPDATE 0"
        assert await raw.execute("UPDATE tiles SET hashes = '' WHERE batch_id = $1", batch_id) == "UPDATE 0"
        for statement, arguments in (
            ("INSERT INTO api_keys VALUES (gen_random_uuid(), $1, 'p', sha256(''))", (customer.factory_id,)),
            (FILL, (customer.factory_id,)),
            ("INSERT INTO tiles VALUES ($1, 0, 77, '')", (batch_id,)),
            ("INSERT INTO chunks VALUES ($1, 9000, 1, 0, 0, NULL, NULL, '', NULL)", (batch_id,)),
            ("UPDATE batches SET factory_id = $1", (customer.factory_id,)),
        ):
            with pytest.raises(asyncpg.InsufficientPrivilegeError, match="row-level security"):
                await raw.execute(statement, *arguments)
        await show(raw, EVERY)
        assert await whose(raw) >= {customer.factory_id, other.factory_id}


async def test_nobody_here_reads_what_was_done(raw: Any) -> None:
    await show(raw, EVERY)
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await raw.fetch("SELECT * FROM audit")


async def test_a_connection_of_the_pool_shows_whom_it_is_taken_for(
    store: Store, customer: Customer, door: Door
) -> None:
    pids = set()
    async with door.customer() as other:
        for tenant in (customer.factory_id, other.factory_id, other.factory_id, customer.factory_id):
            async with store.connection(tenant) as connection:
                pids.add(connection.get_server_pid())
                assert await whose(connection) == {tenant}
            with pytest.raises(asyncpg.DivisionByZeroError):
                async with store.transaction(tenant) as connection:
                    await connection.execute("SELECT 1 / 0")
        async with store.transaction(EVERY) as connection:
            assert await whose(connection) >= {customer.factory_id, other.factory_id}
        async with store.connection(uuid4()) as connection:
            assert await whose(connection) == set()
    assert len(pids) == 1, "it was one connection all the time"


async def test_the_same_tenant_again_costs_no_round_trip(own: TenantConnection, customer: Customer) -> None:
    said: list[str] = []
    own.add_query_logger(lambda query: said.append(query.query))
    mine = customer.factory_id
    steps: list[tuple[Tenant, int]] = [(EVERY, 1), (EVERY, 1), (mine, 2), (mine, 2), (EVERY, 3)]
    for tenant, statements in steps:
        await own.show(tenant, sql)
        await asyncio.sleep(0)  # loggers are called at the loop's next turn
        assert len(said) == statements


async def test_a_taking_that_is_cut_off_leaves_nobodys(store: Store, customer: Customer, door: Door) -> None:
    """Cancelled before the tenant is set, while it is, and after; whoever takes the connection next sees his own."""

    async def take(tenant: UUID) -> None:
        async with store.connection(tenant) as connection:
            await connection.fetchval("SELECT pg_sleep(0)")

    async with door.customer() as other:
        cut = 0
        for turns in range(40):
            mine, others = (customer, other) if turns % 2 else (other, customer)
            taking = asyncio.create_task(take(others.factory_id))
            for _ in range(turns):
                await asyncio.sleep(0)
            cut += taking.cancel()
            with suppress(asyncio.CancelledError):
                await taking
            async with store.connection(mine.factory_id) as connection:
                assert await whose(connection) == {mine.factory_id}
        assert cut > 0


async def test_a_setting_that_fails_is_set_anew(own: TenantConnection, customer: Customer, door: Door) -> None:
    await door.new_factory()
    await own.show(EVERY, sql)
    transaction = own.transaction()
    await transaction.start()
    with suppress(asyncpg.DivisionByZeroError):
        await own.execute("SELECT 1 / 0")
    with pytest.raises(asyncpg.InFailedSQLTransactionError):
        await own.show(customer.factory_id, sql)
    await transaction.rollback()
    await own.show(EVERY, sql)
    assert len(await whose(own)) > 1
    await own.show(customer.factory_id, sql)
    assert await whose(own) == {customer.factory_id}


async def test_walls_leave_the_indexes_in_use(raw: Any, customer: Customer) -> None:
    batch_id = await filled(customer)
    await show(raw, customer.factory_id)
    await raw.execute("SET enable_seqscan = off")
    for table, index in (("chunks", "chunks_pkey"), ("tiles", "tiles_pkey")):
        plan = "\n".join(
            row[0] for row in await raw.fetch(f"EXPLAIN SELECT * FROM {table} WHERE batch_id = '{batch_id}'")
        )
        assert re.search(rf"{index}|chunks_by_index", plan), plan
        assert "batches_by_id" in plan
        assert "hashed" not in plan
    one = f"SELECT * FROM batches WHERE factory_id = '{customer.factory_id}' AND batch_id = '{batch_id}'"
    plan = await explained(raw, one)
    assert "batches_pkey" in plan or "batches_by_id" in plan
