"""Exports that are ordered: made by the worker, whatever dies, and fetched by who ordered them."""

import asyncio
import hashlib
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import grpc
import pytest
import pytest_asyncio
from voketag.admin.v1 import export_pb2 as pb

from admin.files import Files, Pruning
from admin.store import Store
from mesh import database
from mesh.clock import SystemClock
from tests.fakes.clock import HandClock
from tests.integration.admin.export_world import (
    FORMATS,
    Exporter,
    Factory,
    exporter,
    locked,
    new_factory,
    read,
    scan,
    worker,
    working,
)
from tests.integration.admin.world import Door, Ground, Person
from tests.integration.factory.world import eventually, reason_of

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def factory(ground: Ground) -> Factory:
    factory = await new_factory(ground)
    await scan(ground, factory, 20_000)
    return factory


@pytest_asyncio.fixture(loop_scope="module")
async def ada(door: Door, admin: Person) -> Exporter:
    return await exporter(door, admin)


async def refused(call: object) -> str:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await call  # type: ignore[misc]
    return reason_of(error.value)


@pytest.mark.parametrize("form", FORMATS)
async def test_what_was_ordered_is_made_and_fetched(ground: Ground, ada: Exporter, factory: Factory, form: str) -> None:
    which = {"factory_id": str(factory.factory_id)}
    order = await ada.start("scans", form, **which)
    assert (order.state, order.file.link) == (pb.EXPORT_STATE_WAITING, "")
    async with working(ground):
        made = await ada.made(order.export_id)
    assert (made.state, made.row_count, made.failure) == (pb.EXPORT_STATE_DONE, 20_000, "")
    file = await ada.fetch(made.file.link)
    assert (len(file), hashlib.sha256(file).digest()) == (made.file.size, made.file.sha256)
    assert form == "xlsx" or len(file) > 1 << 20, "several pieces"
    rows = read(file, form)
    assert len({row["scan_id"] for row in rows}) == len(rows) == 20_000


async def test_the_same_order_twice_is_one(ada: Exporter) -> None:
    request_id = str(uuid4())
    first = await ada.start("users", request_id=request_id)
    assert (await ada.start("users", request_id=request_id)).export_id == first.export_id
    assert await refused(ada.start("scans", request_id=request_id)) == "REQUEST_ID_REUSED"
    assert await refused(ada.start("users", request_id="")) == "VALIDATION_FAILED"


async def test_five_are_under_way_at_most(ground: Ground, ada: Exporter) -> None:
    request_id = str(uuid4())
    starts = await asyncio.gather(*(ada.start("users") for _ in range(4)), ada.start("users", request_id=request_id))
    assert len({made.export_id for made in starts}) == 5
    assert await refused(ada.start("users")) == "QUOTA_EXCEEDED"
    assert (await ada.start("users", request_id=request_id)).export_id == starts[-1].export_id
    async with working(ground):
        for made in starts:
            assert (await ada.made(made.export_id)).state == pb.EXPORT_STATE_DONE
    assert await ada.start("users")


async def test_a_killed_worker_leaves_no_half_file_and_another_makes_it(
    ground: Ground, ada: Exporter, factory: Factory
) -> None:
    async with locked(ground, "file_pieces") as owner:  # the worker stands before its first piece
        first = worker(ground)
        await first.start()
        order = await ada.start("scans", factory_id=str(factory.factory_id))

        async def taken() -> bool:
            return (await ada.get(order.export_id)).state == pb.EXPORT_STATE_RUNNING

        assert await eventually(taken)
        half = await owner.fetchval("SELECT file_id FROM exports WHERE export_id = $1", order.export_id)
        assert (await ada.get(order.export_id)).file.link == ""
        await first.kill()
    async with working(ground):
        made = await ada.made(order.export_id)
    assert made.state == pb.EXPORT_STATE_DONE
    assert len(read(await ada.fetch(made.file.link), "csv")) == 20_000
    async with ground.owner() as owner:
        assert not await owner.fetchval("SELECT count(*) FROM files WHERE file_id = $1", half)


async def test_an_export_that_kills_its_workers_ends_on_hold(ground: Ground, ada: Exporter, factory: Factory) -> None:
    order = await ada.start("scans", factory_id=str(factory.factory_id))
    async with ground.owner() as owner:
        await owner.execute("UPDATE pgqueuer SET attempts = 3 WHERE entrypoint = 'export.make'")
    async with working(ground), ground.owner() as owner:
        made = await ada.made(order.export_id)

        async def held() -> bool:
            return bool(await owner.fetchval("SELECT count(*) FROM pgqueuer WHERE status = 'failed'"))

        assert await eventually(held)
        await owner.execute("DELETE FROM pgqueuer WHERE status = 'failed'")
    assert (made.state, made.file.link) == (pb.EXPORT_STATE_FAILED, "")
    assert made.failure


async def test_a_link_is_good_for_its_person_and_time_alone(
    ground: Ground, door: Door, admin: Person, factory: Factory
) -> None:
    manager = await exporter(door, admin, "factory_manager", factory)
    order = await manager.start("products")
    async with working(ground):
        made = await manager.made(order.export_id)
    link = made.file.link
    assert len(read(await manager.fetch(link), "csv")) == len(factory.products)
    for somebody in (await exporter(door, admin), await exporter(door, admin, "factory_manager", factory)):
        assert await refused(somebody.fetch(link)) == "LINK_INVALID"
        assert await refused(somebody.get(order.export_id)) == "EXPORT_NOT_FOUND"
    expires = made.file.expire_time.seconds
    assert 0 < expires - datetime.now(UTC).timestamp() <= 3600
    for wrong in (
        link.replace(f"expires={expires}", f"expires={expires + 1}"),
        link.replace(f"expires={expires}", "expires=1"),
        link.replace(f"expires={expires}", f"expires={2**62}"),
        link[:-1] + ("A" if link[-1] != "A" else "B"),
        link.partition("&")[0] + "&signature=",
        link.partition("&")[0] + "&signature=ü",
        link.replace(link.split("/")[4][:36], str(uuid4())),
    ):
        assert await refused(manager.fetch(wrong)) == "LINK_INVALID", wrong


async def test_a_link_ends(ground: Ground, admin: Person, factory: Factory) -> None:
    clock = hand_clock(timedelta())
    async with ground.server(clock=clock) as door:
        ada = await exporter(door, admin)
        order = await ada.start("products", factory_id=str(factory.factory_id))
        async with working(ground):
            made = await ada.made(order.export_id)
        assert await ada.fetch(made.file.link)
        clock.seconds += 3601
        ada = Exporter(await door.person(ada.person.email))
        assert await refused(ada.fetch(made.file.link)) == "LINK_INVALID"
        again = await ada.get(order.export_id)
        assert await ada.fetch(again.file.link)


async def test_old_files_go_with_all_their_pieces(ground: Ground, ada: Exporter, factory: Factory) -> None:
    order = await ada.start("scans", factory_id=str(factory.factory_id))
    async with working(ground):
        made = await ada.made(order.export_id)
    later = hand_clock(timedelta(days=1, hours=1))
    async with await database.connect(ground.database.settings("admin"), schema="admin") as pool:
        store = Store(pool)
        assert await Files(store, SystemClock()).find(await file_id(ground, order))
        assert await Files(store, later).find(await file_id(ground, order)) is None
        assert await Pruning(store, later).run() == 0, "somebody may still read"
        later.seconds += 7200
        assert await Pruning(store, later).run() >= 1
    assert await refused(ada.fetch(made.file.link)) == "LINK_INVALID"
    assert (await ada.get(order.export_id)).state == pb.EXPORT_STATE_EXPIRED
    async with ground.owner() as owner:
        assert not await owner.fetchval("SELECT count(*) FROM file_pieces")


async def file_id(ground: Ground, order: pb.ExportJob) -> UUID:
    async with ground.owner() as owner:
        found: UUID = await owner.fetchval("SELECT file_id FROM exports WHERE export_id = $1", order.export_id)
    return found


def hand_clock(later: timedelta) -> HandClock:
    clock = HandClock()
    clock.seconds = (datetime.now(UTC) + later).timestamp()
    return clock


async def test_unknown_and_wrong_ids(ada: Exporter) -> None:
    assert await refused(ada.get(str(uuid4()))) == "EXPORT_NOT_FOUND"
    assert await refused(ada.get("../1")) == "VALIDATION_FAILED"
    assert await refused(ada.fetch("/x/none?expires=1&signature=a")) == "VALIDATION_FAILED"
