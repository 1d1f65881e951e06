"""Exports called off: waiting, in mid write, at their end, by whom, and whatever dies."""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID, uuid4

import grpc
import pytest
import pytest_asyncio
from voketag.admin.v1 import export_pb2 as pb

from admin.store import Store
from mesh import database
from mesh.local.process import Child
from tests.integration.admin.export_world import (
    Exporter,
    Factory,
    exporter,
    locked,
    new_factory,
    scan,
    worker,
    working,
)
from tests.integration.admin.test_export_making import job, making
from tests.integration.admin.test_people import refused
from tests.integration.admin.world import Door, Ground, Person
from tests.integration.factory.world import eventually, reason_of

pytestmark = pytest.mark.asyncio(loop_scope="module")
ROWS = 20_000
WAITS = """
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE $1
  AND (wait_event = 'relation') = $2
"""
WRITES, CANCELS, FINISHES = "INSERT INTO file_pieces%", "SELECT user_id, kind%FOR UPDATE%", "%SET state = 'DONE'%"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def factory(ground: Ground) -> Factory:
    factory = await new_factory(ground)
    await scan(ground, factory, ROWS)
    return factory


@pytest_asyncio.fixture(loop_scope="module")
async def ada(door: Door, admin: Person) -> Exporter:
    return await exporter(door, admin)


@pytest_asyncio.fixture(loop_scope="module")
async def store(ground: Ground) -> AsyncIterator[Store]:
    async with await database.connect(ground.database.settings("admin"), schema="admin") as pool:
        yield Store(pool)


async def left(ground: Ground, order: pb.ExportJob) -> tuple[UUID | None, int, int]:
    """What is left of an export: its file, and all files and pieces that there are."""
    async with ground.owner() as owner:
        row = await owner.fetchrow(
            "SELECT file_id, (SELECT count(*) FROM files), (SELECT count(*) FROM file_pieces)"
            " FROM exports WHERE export_id = $1",
            order.export_id,
        )
    assert row is not None
    return tuple(row)


@pytest_asyncio.fixture(autouse=True, loop_scope="module")
async def _no_files(ground: Ground) -> None:
    async with ground.owner() as owner:
        await owner.execute("DELETE FROM exports")
        await owner.execute("DELETE FROM files")
        await owner.execute("DELETE FROM pgqueuer")


async def jobs_of(ground: Ground, order: pb.ExportJob) -> int:
    async with ground.owner() as owner:
        payload = UUID(order.export_id).bytes
        return int(await owner.fetchval("SELECT count(*) FROM pgqueuer WHERE payload = $1", payload))


async def stand(ground: Ground, query: str, *, for_table: bool = False) -> None:
    """Returns when a statement like this waits for a lock of a row, or of a table."""
    async with ground.owner() as watcher:

        async def standing() -> bool:
            return bool(await watcher.fetchval(WAITS, query, for_table))

        assert await eventually(standing)


async def test_what_waits_is_called_off_once_and_nobody_makes_it(ground: Ground, ada: Exporter) -> None:
    order = await ada.start("users")
    request_id = str(uuid4())
    for _ in range(2):
        gone = await ada.cancel(order.export_id, request_id=request_id)
        assert (gone.state, gone.HasField("file"), gone.failure) == (pb.EXPORT_STATE_CANCELLED, False, "")
    assert gone.finish_time.seconds > 0
    assert await refused(ada.cancel(order.export_id)) == "EXPORT_STATE_CONFLICT"
    other = await ada.start("users")
    assert await refused(ada.cancel(other.export_id, request_id=request_id)) == "REQUEST_ID_REUSED"
    async with working(ground):
        assert (await ada.made(other.export_id)).state == pb.EXPORT_STATE_DONE

        async def no_job() -> bool:
            return not await jobs_of(ground, order)

        assert await eventually(no_job)
    assert await ada.get(order.export_id) == gone
    assert (await left(ground, order))[:2] == (None, 1), "the other's"
    async with ground.owner() as owner:
        rows = await owner.fetch(
            "SELECT actor_id, request_id::text, detail FROM audit"
            " WHERE result = 'OK' AND resource = $1 AND method LIKE '%CancelExport'",
            f"export/{order.export_id}",
        )
    (row,) = rows
    assert (row["actor_id"], row["request_id"]) == (ada.person.user_id, request_id)
    assert json.loads(row["detail"]) == {"state": {"before": "WAITING", "after": "CANCELLED"}}


async def test_a_place_is_free_again(ada: Exporter) -> None:
    orders = [await ada.start("users") for _ in range(5)]
    assert await refused(ada.start("users")) == "QUOTA_EXCEEDED"
    await ada.cancel(orders[2].export_id)
    assert await ada.start("users")


async def test_what_has_come_to_its_end_is_not_called_off(
    ground: Ground, store: Store, ada: Exporter, factory: Factory
) -> None:
    done = await ada.start("products", factory_id=str(factory.factory_id))
    await making(store).make(job(done))
    failed = await ada.start("scans", factory_id=str(factory.factory_id))
    await making(store, largest=100_000).make(job(failed))
    for order, state in ((done, pb.EXPORT_STATE_DONE), (failed, pb.EXPORT_STATE_FAILED)):
        assert await refused(ada.cancel(order.export_id)) == "EXPORT_STATE_CONFLICT"
        assert (await ada.get(order.export_id)).state == state
    assert await ada.fetch((await ada.get(done.export_id)).file.link)


async def test_who_may_and_who_is_told_nothing(door: Door, admin: Person, ada: Exporter, factory: Factory) -> None:
    manager = await exporter(door, admin, "factory_manager", factory)
    colleague = await exporter(door, admin, "factory_manager", factory)
    auditor = await exporter(door, admin, "auditor")
    orders = [await each.start("products") for each in (ada, manager, auditor)]
    for order in orders:
        assert await refused(colleague.cancel(order.export_id)) == "EXPORT_NOT_FOUND"
    assert await refused(colleague.cancel(str(uuid4()))) == "EXPORT_NOT_FOUND"
    assert await refused(auditor.cancel(orders[0].export_id)) == "ACCESS_DENIED"
    assert await refused(auditor.cancel(str(uuid4()))) == "EXPORT_NOT_FOUND"
    assert await refused(ada.cancel(str(uuid4()))) == "EXPORT_NOT_FOUND"
    for wrong in ({"export_id": "../1"}, {"export_id": ""}, {"export_id": orders[0].export_id, "request_id": "x"}):
        assert await refused(ada.cancel(**wrong)) == "VALIDATION_FAILED", wrong
    for role in ("support", "factory_operator"):
        nobody = await exporter(door, admin, role, factory if role == "factory_operator" else None)
        assert await refused(nobody.cancel(orders[1].export_id)) == "ACCESS_DENIED"
    assert {each.state for each in (await ada.list()).exports} == {pb.EXPORT_STATE_WAITING}
    await auditor.cancel(orders[2].export_id)
    theirs = await ada.cancel(orders[1].export_id)
    assert (theirs.state, theirs.user_id) == (pb.EXPORT_STATE_CANCELLED, manager.person.user_id)
    assert (await manager.get(orders[1].export_id)).state == pb.EXPORT_STATE_CANCELLED


@asynccontextmanager
async def in_mid_write(ground: Ground, ada: Exporter, factory: Factory) -> AsyncIterator[tuple[Child, pb.ExportJob]]:
    """A worker process that stands still after the first of several pieces."""
    child = worker(ground)
    try:
        async with ground.owner() as owner, owner.transaction():
            async with locked(ground, "file_pieces"):
                await child.start()
                order = await ada.start("scans", factory_id=str(factory.factory_id))
                await stand(ground, WRITES, for_table=True)
                await owner.execute("SELECT FROM files FOR UPDATE")
            await stand(ground, WRITES)  # executed, and at the check of its foreign key
            assert child.pid
            os.kill(child.pid, signal.SIGSTOP)

        async def one_piece() -> bool:
            return (await left(ground, order))[1:] == (1, 1)

        assert await eventually(one_piece)
        yield child, order
    finally:
        await child.kill()


async def test_in_mid_write_nothing_is_left_and_the_worker_finds_out(
    ground: Ground, ada: Exporter, factory: Factory
) -> None:
    async with in_mid_write(ground, ada, factory) as (child, order):
        gone = await ada.cancel(order.export_id)
        assert gone.state == pb.EXPORT_STATE_CANCELLED
        assert await left(ground, order) == (None, 0, 0)
        assert child.pid
        os.kill(child.pid, signal.SIGCONT)

        async def no_job() -> bool:
            return not await jobs_of(ground, order)

        assert await eventually(no_job)
        next_one = await ada.start("users")
        assert (await ada.made(next_one.export_id)).state == pb.EXPORT_STATE_DONE, "it works on"
    assert await ada.get(order.export_id) == gone
    assert (await left(ground, order))[:2] == (None, 1), "the next one's"


async def test_a_worker_killed_afterwards_leaves_nothing_to_the_next(
    ground: Ground, ada: Exporter, factory: Factory
) -> None:
    async with in_mid_write(ground, ada, factory) as (child, order):
        gone = await ada.cancel(order.export_id)
        await child.kill()
        assert await jobs_of(ground, order) == 1
    async with working(ground):

        async def no_job() -> bool:
            return not await jobs_of(ground, order)

        assert await eventually(no_job)
    assert await ada.get(order.export_id) == gone
    assert await left(ground, order) == (None, 0, 0)


@pytest.mark.parametrize("first", ["cancel", "finish"])
async def test_of_cancelling_and_finishing_at_once_one_comes_first(
    ground: Ground, store: Store, ada: Exporter, factory: Factory, first: str
) -> None:
    order = await ada.start("products", factory_id=str(factory.factory_id))
    cancelling = None
    async with ground.owner() as owner, owner.transaction():
        async with locked(ground, "file_pieces"):
            finishing = asyncio.create_task(making(store).make(job(order)))
            await stand(ground, WRITES, for_table=True)
            await owner.execute("SELECT FROM exports WHERE export_id = $1 FOR UPDATE", order.export_id)
            if first == "cancel":
                cancelling = asyncio.create_task(ada.cancel(order.export_id))
                await stand(ground, CANCELS)
        await stand(ground, FINISHES)
        if cancelling is None:
            cancelling = asyncio.create_task(ada.cancel(order.export_id))
            await stand(ground, CANCELS)
    await finishing
    if first == "cancel":
        assert (await cancelling).state == pb.EXPORT_STATE_CANCELLED
        assert await left(ground, order) == (None, 0, 0)
    else:
        assert await refused(cancelling) == "EXPORT_STATE_CONFLICT"
        made = await ada.get(order.export_id)
        assert (made.state, made.row_count) == (pb.EXPORT_STATE_DONE, len(factory.products))
        assert len(await ada.fetch(made.file.link)) == made.file.size


async def test_of_two_who_cancel_one_does(ground: Ground, door: Door, admin: Person, ada: Exporter) -> None:
    order, other = await ada.start("users"), await exporter(door, admin)
    answers = await asyncio.gather(*(each.cancel(order.export_id) for each in (ada, other)), return_exceptions=True)
    (lost,) = [answer for answer in answers if isinstance(answer, grpc.aio.AioRpcError)]
    assert reason_of(lost) == "EXPORT_STATE_CONFLICT"
    assert (await ada.get(order.export_id)).state == pb.EXPORT_STATE_CANCELLED
