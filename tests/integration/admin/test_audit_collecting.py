"""Every row of every service is in the log, once, whoever commits late, dies or comes second."""

import asyncio
import re
import signal
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from admin.audit import entry_of
from mesh.ledger import Ledger, Snapshot
from mesh.local.secrets import AUDIT_ORIGIN
from tests.databases import Database, Databases
from tests.fakes.dying_collector import STEPS
from tests.fakes.keys import signer
from tests.integration.admin.audit_world import (
    COUNT,
    IDS,
    SERVICES,
    Kept,
    as_owner,
    as_service,
    values,
    write,
)
from tests.integration.anchor.processes import running
from tests.meshes import ROOT
from trust.audit import audit
from trust.auditlog import LogRow

ROW = ("audit_id", "at", "actor_kind", "actor_id", "actor_role", "method", "resource", "request_id", "address_prefix")


@pytest.fixture
async def database(databases: Databases) -> AsyncIterator[Database]:
    async with databases.clone("factory", "scan", "anchor", "admin") as database:
        yield database


@pytest.fixture
def kept(database: Database) -> Kept:
    return Kept(database, signer(AUDIT_ORIGIN), Ledger(AUDIT_ORIGIN))


async def test_rows_of_all_services_are_taken_as_they_are(kept: Kept) -> None:
    ids = []
    async with as_owner(kept.database) as owner, as_service(kept.database, "admin") as own:
        for number, service in enumerate(SERVICES * 3):
            async with as_service(kept.database, service) as connection:
                ids += await write(connection, values(number, **({"request_id": None} if number % 2 else {})))
        assert await kept.collect(own) == 12
        for service in SERVICES:
            columns = ", ".join(ROW)
            rows = await owner.fetch(f"SELECT {columns}, result, detail::text FROM {service}.audit ORDER BY audit_id")
            query = f"SELECT {columns}, result, detail FROM admin.audit_chain WHERE source = $1 ORDER BY audit_id"
            assert list(map(tuple, await owner.fetch(query, service))) == list(map(tuple, rows))
        assert [row["audit_id"] for row in await owner.fetch(IDS)] == ids

        async def rows_from(first: int) -> AsyncIterator[list[LogRow]]:
            found = await own.fetch("SELECT * FROM audit_chain WHERE number >= $1 ORDER BY number", first)
            yield [LogRow(row["number"], bytes(32), entry_of(row)) for row in found]

        async with own.transaction(isolation="repeatable_read"):
            snapshot = Snapshot(kept.ledger, own, rows_from)
            report = await audit(snapshot, [kept.signer.verifier], origin=AUDIT_ORIGIN)
        assert report.clean
        assert (report.size, report.rows) == (12, 12)


async def test_a_row_that_commits_late_is_never_left_behind(kept: Kept) -> None:
    collector = kept.collector(None)
    async with (
        as_service(kept.database, "factory") as late,
        as_service(kept.database, "factory") as quick,
        as_service(kept.database, "admin") as own,
    ):
        transaction = late.transaction()
        await transaction.start()
        (first,) = await write(late, values(1))
        (second,) = await write(quick, values(2))
        assert first < second, "whoever goes by ids or times is past the first already"
        assert await own.fetchval("SELECT array_agg(audit_id) FROM factory.audit_rows") == [second]
        for _ in range(3):
            assert await collector.collect(own) == 0, "what is there may not be taken while something older may come"
        await transaction.commit()
        assert await kept.collect(own) == 2
        assert [row["audit_id"] for row in await own.fetch(IDS)] == [first, second]


async def test_what_is_taken_back_is_no_row_and_holds_up_nobody(kept: Kept) -> None:
    async with as_service(kept.database, "scan") as connection, as_service(kept.database, "admin") as own:
        with pytest.raises(ZeroDivisionError):
            async with connection.transaction():
                await write(connection, values())
                raise ZeroDivisionError
        (row,) = await write(connection, values())
        assert await kept.collect(own) == 1
        assert await own.fetchval("SELECT array_agg(audit_id) FROM audit_chain") == [row]


async def test_many_writers_and_two_collectors_lose_and_double_nothing(kept: Kept) -> None:
    done = asyncio.Event()

    async def writes(service: str) -> None:
        async with as_service(kept.database, service) as connection:
            for number in range(40):
                async with connection.transaction():
                    await write(connection, values(number), values(number))
                    await asyncio.sleep(0.001 * (number % 7))

    async def takes() -> None:
        async with as_service(kept.database, "admin") as own:
            while not done.is_set():
                await kept.collector(None).collect(own)
                await asyncio.sleep(0)

    async with asyncio.TaskGroup() as group:
        takers = [group.create_task(takes()) for _ in range(2)]
        await asyncio.gather(*(writes(service) for service in SERVICES for _ in range(2)))
        done.set()
        await asyncio.gather(*takers)
    async with as_service(kept.database, "admin") as own:
        assert await kept.collect(own) == 40 * 2 * 2 * len(SERVICES)


@pytest.mark.parametrize("step", STEPS)
async def test_whenever_it_is_killed_each_row_is_taken_once(kept: Kept, step: str) -> None:
    env = kept.environment() | {"VOKETAG_AUDIT_KEY": kept.signer.to_text()}
    async with as_service(kept.database, "anchor") as connection, as_owner(kept.database) as owner:
        await write(connection, *(values(number) for number in range(30)))
        async with running("tests.fakes.dying_collector", step, env=env) as process, asyncio.timeout(30):
            assert await process.wait() == -signal.SIGKILL
        assert await owner.fetchval(COUNT) == (30 if step == "committed" else 0)
        await write(connection, *(values(number) for number in range(5)))
        async with as_service(kept.database, "admin") as own:
            assert await kept.collect(own) == 35
        assert await owner.fetchval("SELECT count(DISTINCT audit_id) FROM admin.audit_chain") == 35
    status, said = await kept.verify()
    assert status == 0, said


async def test_a_service_that_is_not_there_yet_holds_up_no_other(databases: Databases) -> None:
    async with databases.clone("anchor", "admin") as database:
        kept = Kept(database, signer(AUDIT_ORIGIN), Ledger(AUDIT_ORIGIN))
        async with as_service(database, "anchor") as connection, as_service(database, "admin") as own:
            await write(connection, values())
            async with asyncio.timeout(30):
                while not await kept.collector(None).collect(own):
                    await asyncio.sleep(0.02)
            assert await own.fetchval(COUNT) == 1


async def test_the_loop_takes_rows_through_lost_connections(kept: Kept) -> None:
    async with asyncpg.create_pool(
        kept.database.url("admin"),
        password=kept.database.server.password,
        min_size=1,
        server_settings={"search_path": "admin,pg_catalog", "application_name": "taker"},
    ) as pool:
        async with as_owner(kept.database) as owner, kept.collector(pool).going_on(), kept.collector(pool).going_on():
            for number in range(3):
                async with as_service(kept.database, "factory") as connection:
                    await write(connection, values(number))
                async with asyncio.timeout(30):
                    while await owner.fetchval(COUNT) != number + 1:
                        await asyncio.sleep(0.02)
                await owner.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'taker'"
                    " AND datname = current_database()"
                )


FORBIDDEN = """
UPDATE audit SET detail = '{}'
UPDATE audit SET position = DEFAULT
DELETE FROM audit
TRUNCATE audit
ALTER TABLE audit ADD x int
INSERT INTO audit (audit_id, at, actor_kind, actor_id, method, resource, address_prefix, detail, xid) \
VALUES (uuidv7(), now(), '', '', '', '', '', '{}', '1')
UPDATE admin.audit_chain SET detail = ''
DELETE FROM admin.audit_chain
TRUNCATE admin.audit_chain
DELETE FROM admin.ledger_checkpoints
UPDATE admin.ledger_checkpoints SET note = ''
DELETE FROM admin.ledger_keys
"""


@pytest.mark.parametrize("service", SERVICES)
async def test_no_service_changes_what_was_logged(kept: Kept, service: str) -> None:
    async with as_service(kept.database, service) as connection:
        await write(connection, values())
        for statement in FORBIDDEN.strip().splitlines():
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(statement)


async def test_nobody_but_admin_reads_the_log(kept: Kept) -> None:
    for service in ("factory", "scan", "anchor"):
        async with as_service(kept.database, service) as connection:
            for table in ("admin.audit_chain", "admin.audit_rows", "admin.ledger"):
                with pytest.raises(asyncpg.InsufficientPrivilegeError):
                    await connection.execute(f"SELECT FROM {table}")


async def test_a_database_out_of_a_dump_is_told_of(kept: Kept) -> None:
    await kept.fill(8)
    async with as_owner(kept.database) as owner, as_service(kept.database, "admin") as own:
        queries: Any = kept.collector(None)._sql
        assert await queries.foreign_audit_cursors(own) == []
        await owner.execute("UPDATE admin.audit_cursors SET xid = '900000000000' WHERE source = 'factory'")
        await owner.execute("UPDATE factory.audit SET xid = '900000000000'")
        assert await queries.foreign_audit_cursors(own) == ["factory"]
        (mending,) = re.findall(r"```sql\n(.*?)```", (ROOT / "docs" / "audit.md").read_text(), re.DOTALL)
        await owner.execute(mending)
        assert await queries.foreign_audit_cursors(own) == []
        async with as_service(kept.database, "factory") as connection:
            await write(connection, values())
        assert await kept.collect(own) == 9
    status, said = await kept.verify()
    assert status == 0, said
