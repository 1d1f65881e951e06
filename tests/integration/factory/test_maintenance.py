"""What is done by the clock, each made due by hand: run once by real workers, and harmless when it is run twice."""

import asyncio
import urllib.request
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
import pytest_asyncio
from voketag.factory.v1 import factory_pb2

from factory import tenants
from factory.maintenance import DELETED_AT_ONCE, Maintenance
from factory.store import Store
from mesh import idempotency
from mesh.clock import SystemClock
from mesh.jobs import Jobs
from tests.fakes.final_anchor import FinalAnchor
from tests.integration.factory.world import Customer, Ground, eventually, working
from tests.servers import free_port

pytestmark = pytest.mark.asyncio(loop_scope="module")

ANCHORING = factory_pb2.BATCH_STATE_ANCHORING
COMPLETED = factory_pb2.BATCH_STATE_COMPLETED
STANDING = {
    "maintenance.months",
    "maintenance.cleanup",
    "maintenance.statistics",
    "maintenance.unbuilt",
    "maintenance.unanchored",
}
KEY = "(SELECT uuid_send(factory_id) || uuid_send(batch_id) FROM batches WHERE batch_id = $1)"
JOBS_OF = f"SELECT count(*) FROM pgqueuer WHERE status = 'queued' AND payload = {KEY}"
LATER = "SELECT min(execute_after) > now() AND max(attempts) = 0 AND count(*) = 1 FROM pgqueuer WHERE entrypoint = $1"
REQUESTS = """
INSERT INTO idempotency (caller, request_id, method, digest, resource_id, created_at)
SELECT 'test', gen_random_uuid(), 'test', '', gen_random_uuid(), now() - $2::interval FROM generate_series(1, $1)
"""


@pytest_asyncio.fixture(loop_scope="module")
async def owner(ground: Ground) -> AsyncIterator[Any]:
    async with ground.owner() as owner:
        yield owner
        await owner.execute("DELETE FROM pgqueuer")


@pytest_asyncio.fixture(loop_scope="module")
async def maintenance(ground: Ground) -> AsyncIterator[Maintenance]:
    pool = await tenants.connect(ground.database.settings("factory"))
    yield Maintenance(Store(pool), Jobs("factory"), SystemClock())
    await pool.close()


async def _run(owner: Any, name: str) -> None:
    """Makes a standing job due, and waits until it is done and comes back later."""

    async def standing() -> bool:
        return bool(await owner.fetchval(LATER, name))

    await eventually(standing)
    await owner.execute("UPDATE pgqueuer SET execute_after = now() WHERE entrypoint = $1", name)
    await eventually(standing)


async def _stuck(owner: Any, batch_id: str, minutes: int) -> None:
    """Loses the jobs of a batch that has not moved for so long."""
    batch = UUID(batch_id)
    await owner.execute(f"DELETE FROM pgqueuer WHERE payload = {KEY}", batch)
    await owner.execute(
        "UPDATE batches SET updated_at = now() - $2::interval WHERE batch_id = $1", batch, timedelta(minutes=minutes)
    )


async def test_two_workers_keep_one_of_each_standing_job_and_run_it_once(
    ground: Ground, anchor: FinalAnchor, owner: Any
) -> None:
    await owner.execute("DELETE FROM pgqueuer_log")
    async with working(ground, anchor), working(ground, anchor):
        for name in STANDING:
            await _run(owner, name)
        counts = await owner.fetch(
            "SELECT entrypoint, count(*) FROM pgqueuer WHERE entrypoint LIKE 'maintenance.%' GROUP BY 1"
        )
        picks = await owner.fetch(
            "SELECT entrypoint, count(*) FROM pgqueuer_log "
            "WHERE status = 'picked' AND entrypoint LIKE 'maintenance.%' GROUP BY 1"
        )
    assert {tuple(row) for row in counts} == {(name, 1) for name in STANDING}
    ran = {row["entrypoint"]: row["count"] for row in picks}
    assert set(ran) == STANDING
    # The clock may have struck meanwhile for the one of every minute.
    assert all(count == 1 for name, count in ran.items() if name in {"maintenance.months", "maintenance.cleanup"})


async def test_months_and_statistics_are_made_as_the_owner(ground: Ground, anchor: FinalAnchor, owner: Any) -> None:
    last = "SELECT relname FROM pg_class WHERE relname ~ '^products_\\d{4}_\\d{2}$' ORDER BY 1 DESC LIMIT 1"
    analysed = "SELECT min(last_analyze) FROM pg_stat_user_tables WHERE relname IN ('batches', 'pgqueuer', 'products')"
    gone = await owner.fetchval(last)
    await owner.execute(f"DROP TABLE {gone}, {gone.replace('products', 'product_events')}")
    async with working(ground, anchor):
        await _run(owner, "maintenance.months")
        assert await owner.fetchval(last) == gone
        before = await owner.fetchval("SELECT now()")
        await _run(owner, "maintenance.statistics")
        assert await owner.fetchval(analysed) > before


async def test_old_requests_and_lines_of_jobs_go_and_younger_ones_stay(
    ground: Ground, anchor: FinalAnchor, owner: Any
) -> None:
    await owner.execute("DELETE FROM idempotency")
    await owner.execute(REQUESTS, 2 * DELETED_AT_ONCE + 1, timedelta(hours=49))
    await owner.execute(REQUESTS, 7, timedelta(hours=47))
    await owner.execute(
        "INSERT INTO pgqueuer_log (created, job_id, status, priority, entrypoint) "
        "SELECT now() - number * interval '1 hour', number, 'successful', 0, 'test' "
        "FROM generate_series(1, 96) AS number"
    )
    async with working(ground, anchor):
        await _run(owner, "maintenance.cleanup")
    assert await owner.fetchval("SELECT count(*) FROM idempotency") == 7
    log = "SELECT count(*), min(created) > now() - interval '49 hours' FROM pgqueuer_log WHERE entrypoint = 'test'"
    assert tuple(await owner.fetchrow(log)) == (47, True)


async def test_removing_old_requests_reads_the_old_ones_alone(owner: Any) -> None:
    await owner.execute("DELETE FROM idempotency")
    await owner.execute(REQUESTS, 50_000, timedelta(hours=1))
    await owner.execute(REQUESTS, 100, timedelta(hours=72))
    await owner.execute("ANALYZE idempotency")
    before = await owner.fetchval("SELECT now() - interval '48 hours'")
    plan = await owner.fetch(f"EXPLAIN {idempotency.FORGET}", before, DELETED_AT_ONCE)
    text = "\n".join(row[0] for row in plan)
    assert "idempotency_by_age" in text
    assert "Tid Scan" in text
    assert "Seq Scan" not in text
    assert await idempotency.forget(owner, before, 60) == 60
    assert await idempotency.forget(owner, before, 60) == 40
    await owner.execute("DELETE FROM idempotency")


async def test_batch_that_lost_its_job_is_finished(
    ground: Ground, anchor: FinalAnchor, owner: Any, customer: Customer
) -> None:
    batch_id = (await customer.order(10)).batch.batch_id
    await _stuck(owner, batch_id, minutes=2)
    async with working(ground, anchor):
        await _run(owner, "maintenance.unbuilt")
        await customer.reached(batch_id, COMPLETED)


async def test_batch_whose_job_is_on_hold_is_finished_and_the_held_one_kept(
    ground: Ground, anchor: FinalAnchor, owner: Any, customer: Customer, maintenance: Maintenance
) -> None:
    batch_id = (await customer.order(10)).batch.batch_id
    await owner.execute("UPDATE pgqueuer SET status = 'failed' WHERE entrypoint = 'batch.build'")
    await owner.execute("UPDATE batches SET updated_at = now() - interval '2 minutes'")
    await maintenance.order_unbuilt(_unused())
    async with working(ground, anchor):
        await customer.reached(batch_id, COMPLETED)
    assert await owner.fetchval("SELECT count(*) FROM pgqueuer WHERE status = 'failed'") == 1


def _unused() -> Any:
    """What the jobs under test do not look at."""
    return None


async def test_stuck_batch_gets_one_job_however_often_it_is_found(
    owner: Any, customer: Customer, maintenance: Maintenance
) -> None:
    batch_id = (await customer.order(10)).batch.batch_id
    await _stuck(owner, batch_id, minutes=2)
    async with asyncio.TaskGroup() as group:
        for _ in range(5):
            group.create_task(maintenance.order_unbuilt(_unused()))
    await maintenance.order_unbuilt(_unused())
    assert await owner.fetchval(JOBS_OF, UUID(batch_id)) == 1


async def test_batches_on_their_way_are_left_alone(owner: Any, customer: Customer, maintenance: Maintenance) -> None:
    with_job = (await customer.order(10)).batch.batch_id
    await owner.execute("UPDATE batches SET updated_at = now() - interval '1 day'")
    young = (await customer.order(10)).batch.batch_id
    await owner.execute(f"DELETE FROM pgqueuer WHERE payload = {KEY}", UUID(young))
    await maintenance.order_unbuilt(_unused())
    await maintenance.submit_unanchored(_unused())
    assert await owner.fetchval(JOBS_OF, UUID(with_job)) == 1
    assert await owner.fetchval(JOBS_OF, UUID(young)) == 0


async def test_root_that_the_anchor_service_lost_is_handed_in_again(
    ground: Ground, anchor: FinalAnchor, owner: Any, customer: Customer, maintenance: Maintenance
) -> None:
    forgetful = FinalAnchor(at_once=False)  # type: ignore[abstract]
    await forgetful.start()
    try:
        async with working(ground, forgetful):
            batch_id = (await customer.order(10)).batch.batch_id
            await customer.reached(batch_id, ANCHORING)

            async def handed_in() -> bool:
                return batch_id in forgetful.submitted and not await owner.fetchval(JOBS_OF, UUID(batch_id))

            await eventually(handed_in)
    finally:
        await forgetful.stop()
    await _stuck(owner, batch_id, minutes=14)
    await maintenance.submit_unanchored(_unused())
    assert await owner.fetchval(JOBS_OF, UUID(batch_id)) == 0
    await _stuck(owner, batch_id, minutes=16)
    async with asyncio.TaskGroup() as group:
        for _ in range(3):
            group.create_task(maintenance.submit_unanchored(_unused()))
    assert await owner.fetchval(JOBS_OF, UUID(batch_id)) == 1
    await owner.execute("UPDATE finality SET position = 0")
    async with working(ground, anchor):
        await customer.reached(batch_id, COMPLETED)


async def test_worker_shows_how_much_waits(ground: Ground, anchor: FinalAnchor, owner: Any) -> None:
    port = free_port()
    # Not due, and so not waiting.
    await Jobs("factory").enqueue(owner, "batch.build", uuid4().bytes * 2, delay=3600)
    async with working(ground, anchor, METRICS_HOST="127.0.0.1", METRICS_PORT=port):

        def read() -> str:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
                return str(answer.read().decode())

        async def shown() -> bool:
            try:
                return 'voketag_jobs_waiting{job="maintenance.cleanup"} 0.0' in await asyncio.to_thread(read)
            except OSError:
                return False

        await eventually(shown)
        text = await asyncio.to_thread(read)
    for gauge in ("waiting", "oldest_seconds", "running", "held"):
        assert f'voketag_jobs_{gauge}{{job="batch.build"}} 0.0' in text
