"""What befalls the making of a file: another worker, the end of this one, too many bytes, a connection that breaks."""

import asyncio
from collections.abc import AsyncIterator
from uuid import UUID

import pytest
import pytest_asyncio
from voketag.admin.v1 import export_pb2 as pb

from admin.export_making import ExportMaking
from admin.export_orders import MAKE
from admin.exports import ExportKind, Tables, Wanted
from admin.store import Store
from mesh import database
from mesh.clock import SystemClock, new_id
from mesh.errors import DependencyUnavailable
from mesh.jobs import Again, Job
from mesh.tables import TableFormat
from tests.integration.admin.export_world import Exporter, Factory, exporter, new_factory, read, scan
from tests.integration.admin.world import Door, Ground, Person
from tests.integration.factory.world import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")
ROWS = 5_000


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def factory(ground: Ground) -> Factory:
    factory = await new_factory(ground)
    await scan(ground, factory, ROWS)
    return factory


@pytest_asyncio.fixture(loop_scope="module")
async def store(ground: Ground) -> AsyncIterator[Store]:
    async with await database.connect(ground.database.settings("admin"), schema="admin") as pool:
        yield Store(pool)


@pytest_asyncio.fixture(loop_scope="module")
async def ada(door: Door, admin: Person) -> Exporter:
    return await exporter(door, admin)


def making(store: Store, **more: int) -> ExportMaking:
    return ExportMaking(store, SystemClock(), new_id=new_id, **more)


def job(order: pb.ExportJob, stopping: asyncio.Event | None = None) -> Job:
    async def nobody_waits() -> bool:
        return False

    return Job(MAKE, UUID(order.export_id).bytes, 1, 0, stopping or asyncio.Event(), nobody_waits)


async def test_of_two_workers_the_later_one_makes_the_file(
    ground: Ground, store: Store, ada: Exporter, factory: Factory
) -> None:
    order = await ada.start("scans", factory_id=str(factory.factory_id))
    files = []
    async with ground.owner() as owner:
        hold = owner.transaction()
        await hold.start()
        await owner.execute("LOCK TABLE scan.events IN ACCESS EXCLUSIVE MODE")  # nobody reads on
        workers = []
        for _ in range(2):
            workers.append(asyncio.create_task(making(store).make(job(order))))

            async def taken() -> UUID | None:
                found = await owner.fetchval("SELECT file_id FROM exports WHERE export_id = $1", order.export_id)
                return found if found not in files else None

            files.append(await eventually(taken))
        await hold.rollback()
    await asyncio.gather(*workers)
    made = await ada.get(order.export_id)
    assert (made.state, made.row_count) == (pb.EXPORT_STATE_DONE, ROWS)
    assert str(files[1]) in made.file.link
    assert len(read(await ada.fetch(made.file.link), "csv")) == ROWS
    async with ground.owner() as owner:
        assert not await owner.fetchval("SELECT count(*) FROM file_pieces WHERE file_id = $1", files[0])


async def test_a_worker_that_stops_leaves_it_to_the_next(store: Store, ada: Exporter, factory: Factory) -> None:
    order = await ada.start("scans", factory_id=str(factory.factory_id))
    stopping = asyncio.Event()
    stopping.set()
    with pytest.raises(Again):
        await making(store).make(job(order, stopping))
    assert (await ada.get(order.export_id)).file.link == ""
    await making(store).make(job(order))
    assert (await ada.get(order.export_id)).row_count == ROWS


async def test_a_file_that_grows_too_large_is_given_up_and_says_so(
    ground: Ground, store: Store, ada: Exporter, factory: Factory
) -> None:
    order = await ada.start("scans", factory_id=str(factory.factory_id))
    await making(store, largest=100_000).make(job(order))
    made = await ada.get(order.export_id)
    assert (made.state, made.file.link) == (pb.EXPORT_STATE_FAILED, "")
    assert "100000 bytes" in made.failure
    async with ground.owner() as owner:
        assert await owner.fetchval("SELECT file_id IS NULL FROM exports WHERE export_id = $1", order.export_id)
    await making(store).make(job(order))
    assert (await ada.get(order.export_id)).state == pb.EXPORT_STATE_FAILED, "it stays so"


async def test_a_connection_that_breaks_is_tried_again(
    ground: Ground, store: Store, ada: Exporter, factory: Factory
) -> None:
    order = await ada.start("scans", factory_id=str(factory.factory_id))
    async with ground.owner() as owner, ground.owner() as watcher:
        hold = owner.transaction()
        await hold.start()
        await owner.execute("LOCK TABLE scan.events IN ACCESS EXCLUSIVE MODE")
        worker = asyncio.create_task(making(store).make(job(order)))

        async def cut() -> int:
            return int(
                await watcher.fetchval(
                    "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
                    " AND datname = current_database() AND query LIKE '%exported_scans%'"
                )
            )

        assert await eventually(cut) == 1
        await hold.rollback()
    with pytest.raises(Again):
        await worker
    await making(store).make(job(order))
    assert (await ada.get(order.export_id)).row_count == ROWS


async def test_an_order_that_is_gone_is_nobodys(store: Store, ada: Exporter) -> None:
    await making(store).make(job(pb.ExportJob(export_id=str(new_id()))))


async def test_a_reader_who_goes_to_sleep_loses_the_cursor(ground: Ground, store: Store, factory: Factory) -> None:
    wanted = Wanted(ExportKind.SCANS, TableFormat.CSV, factory_id=factory.factory_id)
    pages = Tables(store, idle_seconds=0.2).pages(wanted, contacts=False)
    assert len(await anext(pages)) < ROWS
    async with ground.owner() as owner:

        async def gone() -> bool:
            return not await owner.fetchval(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
                " AND usename = 'voketag_admin' AND state = 'idle in transaction'"
            )

        assert await eventually(gone)
    with pytest.raises(DependencyUnavailable):
        await anext(pages)
