"""One request is one change however often it comes; migrations run once; the audit row goes with the change."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID, uuid4

import asyncpg
import pytest

from mesh.audit import open_ledger, record
from mesh.errors import RequestIdReused
from mesh.idempotency import RequestKey, claim
from mesh.identity import Principal, set_address, set_caller
from mesh.migrate import MigrationError, migrate
from tests.servers import PostgresAddress

TABLES = """
CREATE TABLE idempotency (caller text, request_id uuid, method text NOT NULL, digest bytea NOT NULL,
  resource_id uuid NOT NULL, created_at timestamptz NOT NULL DEFAULT now(), PRIMARY KEY (caller, request_id));
CREATE TABLE audit (audit_id uuid PRIMARY KEY, at timestamptz NOT NULL, actor_kind text NOT NULL,
  actor_id text NOT NULL, actor_role text NOT NULL,
  method text NOT NULL, resource text NOT NULL, request_id uuid, address_prefix text NOT NULL, detail jsonb NOT NULL);
"""


@pytest.fixture
async def pool(postgres: PostgresAddress) -> AsyncIterator["asyncpg.Pool[asyncpg.Record]"]:
    name = f"test_{uuid4().hex}"
    owner = await asyncpg.connect(postgres.dsn)
    await owner.execute(f"CREATE DATABASE {name}")
    pool = await asyncpg.create_pool(postgres.dsn.rsplit("/", 1)[0] + f"/{name}", min_size=0, max_size=8)
    try:
        yield pool
    finally:
        await pool.close()
        await owner.execute(f"DROP DATABASE {name} WITH (FORCE)")
        await owner.close()


def key(digest: bytes = b"d" * 32, request: UUID | None = None, caller: str = "factory:f") -> RequestKey:
    return RequestKey(caller, request or uuid4(), "/s/Do", digest)


async def test_concurrent_requests_get_one_resource(pool: "asyncpg.Pool[asyncpg.Record]") -> None:
    await pool.execute(TABLES)
    wanted = key()

    async def attempt() -> UUID:
        mine = uuid4()
        async with pool.acquire() as connection, connection.transaction():
            first = await claim(connection, wanted, mine)
        return first or mine

    assert len({*await asyncio.gather(*(attempt() for _ in range(20)))}) == 1


async def test_rolled_back_request_leaves_its_id_free(pool: "asyncpg.Pool[asyncpg.Record]") -> None:
    await pool.execute(TABLES)
    wanted = key()
    async with pool.acquire() as connection:
        with pytest.raises(ZeroDivisionError):
            async with connection.transaction():
                assert await claim(connection, wanted, uuid4()) is None
                raise ZeroDivisionError
        async with connection.transaction():
            assert await claim(connection, wanted, uuid4()) is None


async def test_other_body_or_method_is_refused_and_other_caller_is_another_request(
    pool: "asyncpg.Pool[asyncpg.Record]",
) -> None:
    await pool.execute(TABLES)
    first = key()
    async with pool.acquire() as connection:
        assert await claim(connection, first, uuid4()) is None
        for other in (
            RequestKey(first.caller, first.request_id, first.method, b"e" * 32),
            RequestKey(first.caller, first.request_id, "/s/Other", first.digest),
        ):
            with pytest.raises(RequestIdReused):
                await claim(connection, other, uuid4())
        assert await claim(connection, key(request=first.request_id, caller="factory:g"), uuid4()) is None


async def test_audit_row_goes_with_the_change(pool: "asyncpg.Pool[asyncpg.Record]") -> None:
    await pool.execute(TABLES)
    set_caller(Principal("factory", "f-1"))
    set_address("203.0.113.0/24")
    ledger = open_ledger("/s/Do")
    async with pool.acquire() as connection:
        with pytest.raises(ZeroDivisionError):
            async with connection.transaction():
                await record(connection, resource="batch/1", request_id=None, detail={"name": "x"})
                raise ZeroDivisionError
        assert await connection.fetchval("SELECT count(*) FROM audit") == 0
        async with connection.transaction():
            await record(connection, resource="batch/1", request_id=None, detail={"name": "x"})
        row = await connection.fetchrow("SELECT actor_kind, actor_id, method, address_prefix, detail FROM audit")
    assert tuple(row or ()) == ("factory", "f-1", "/s/Do", "203.0.113.0/24", '{"name": "x"}')
    assert ledger.settled


async def test_migrations_run_once_in_order_and_never_change(
    pool: "asyncpg.Pool[asyncpg.Record]", tmp_path: Path
) -> None:
    (tmp_path / "0001_pre_table.sql").write_text("CREATE TABLE t (n int)")
    (tmp_path / "0002_post_row.sql").write_text("INSERT INTO t VALUES (1)")
    async with pool.acquire() as connection:
        assert await migrate(connection, schema="s", folder=tmp_path) == ["0001_pre_table.sql", "0002_post_row.sql"]
        assert await migrate(connection, schema="s", folder=tmp_path) == []
        assert await connection.fetchval("SELECT count(*) FROM s.t") == 1
        (tmp_path / "0003_pre_broken.sql").write_text("INSERT INTO t VALUES (2); SELECT 1/0")
        with pytest.raises(asyncpg.DivisionByZeroError):
            await migrate(connection, schema="s", folder=tmp_path)
        assert await connection.fetchval("SELECT count(*) FROM s.t") == 1, "a broken file leaves nothing behind"
        (tmp_path / "0003_pre_broken.sql").unlink()
        (tmp_path / "0002_post_row.sql").write_text("INSERT INTO t VALUES (3)")
        with pytest.raises(MigrationError, match="0002_post_row"):
            await migrate(connection, schema="s", folder=tmp_path)
        (tmp_path / "0002_post_row.sql").rename(tmp_path / "2_row.sql")
        with pytest.raises(MigrationError, match="2_row"):
            await migrate(connection, schema="s", folder=tmp_path)


async def test_two_migrators_at_once_run_each_file_once(pool: "asyncpg.Pool[asyncpg.Record]", tmp_path: Path) -> None:
    (tmp_path / "0001_pre_table.sql").write_text("CREATE TABLE t (n int)")

    async def run() -> list[str]:
        async with pool.acquire() as connection:
            return await migrate(connection, schema="s", folder=tmp_path)

    assert sorted(await asyncio.gather(run(), run())) == [[], ["0001_pre_table.sql"]]
