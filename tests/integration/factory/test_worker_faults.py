"""Workers that stop, or find their job poisoned; every test starts workers of its own. test_kills.py kills them."""

import contextlib

import pytest
from voketag.factory.v1 import factory_pb2

from tests.fakes.final_anchor import FinalAnchor
from tests.integration.factory.world import Customer, Ground, eventually, working

pytestmark = pytest.mark.asyncio(loop_scope="module")

COMPLETED = factory_pb2.BATCH_STATE_COMPLETED
FAILED = factory_pb2.BATCH_STATE_FAILED
KINDS_OF_JOBS = 3
"""Builds, errands and deliveries: a worker listens once for each."""


async def test_stopping_worker_hands_its_batch_over(ground: Ground, anchor: FinalAnchor, customer: Customer) -> None:
    batch_id = (await customer.order(400_000)).batch.batch_id

    async def issuing() -> bool:
        return (await customer.batch(batch_id)).issued_count > 0

    async with working(ground, anchor) as child:
        await eventually(issuing)
        await child.stop(grace=8)
        assert await child.wait() == 0
    stopped = await customer.batch(batch_id)
    assert stopped.issued_count < 400_000
    async with working(ground, anchor):
        # At once, and not after the lease of a worker that died.
        batch = await customer.reached(batch_id, COMPLETED, within=60)
    assert batch.issued_count == 400_000


async def test_job_that_kills_its_workers_ends_on_hold(ground: Ground, anchor: FinalAnchor, customer: Customer) -> None:
    batch_id = (await customer.order(10)).batch.batch_id
    async with ground.owner() as owner:
        # As if eight workers had picked it up and died.
        await owner.execute("UPDATE pgqueuer SET attempts = 8 WHERE entrypoint = 'batch.build'")
        async with working(ground, anchor):
            batch = await customer.reached(batch_id, FAILED)

            async def held() -> int:
                query = "SELECT attempts FROM pgqueuer WHERE entrypoint = 'batch.build' AND status = 'failed'"
                return int(await owner.fetchval(query) or 0)

            assert await eventually(held) == 9
        await owner.execute("DELETE FROM pgqueuer")
    assert batch.failure


async def test_finality_goes_on_where_it_stopped(ground: Ground, customer: Customer) -> None:
    later = FinalAnchor(at_once=False)  # type: ignore[abstract]
    await later.start()
    async with ground.owner() as owner:
        await owner.execute("UPDATE finality SET position = 0")

        async def submitted() -> bool:
            return {first, second} <= later.submitted.keys()

        async def followed() -> bool:
            return bool(await owner.fetchval("SELECT position FROM finality") == 2)

        try:
            async with working(ground, later):
                first = (await customer.order(5)).batch.batch_id
                second = (await customer.order(5)).batch.batch_id
                assert await eventually(submitted)
                later.finalise(first)
                await customer.reached(first, COMPLETED)
            later.finalise(second)
            assert (await customer.batch(second)).state == factory_pb2.BATCH_STATE_ANCHORING
            async with working(ground, later):
                await customer.reached(second, COMPLETED)
                assert await eventually(followed)
        finally:
            await later.stop()


async def test_batch_taken_over_keeps_its_job_until_it_is_built(
    ground: Ground, anchor: FinalAnchor, customer: Customer
) -> None:
    batch_id = (await customer.order(400_000)).batch.batch_id
    async with ground.owner() as owner, working(ground, anchor):

        async def issuing() -> bool:
            return (await customer.batch(batch_id)).issued_count > 0

        async def waiting() -> bool:
            query = "SELECT count(*) FROM pgqueuer WHERE status = 'queued' AND execute_after > now()"
            return bool(await owner.fetchval(query))

        await eventually(issuing)
        # As another worker does that begins on the batch, and dies at once.
        await owner.execute("UPDATE batches SET writer = writer + 1 WHERE batch_id = $1", batch_id)
        await eventually(waiting)
        assert (await customer.batch(batch_id)).issued_count < 400_000
        await owner.execute("UPDATE pgqueuer SET execute_after = now()")
        batch = await customer.reached(batch_id, COMPLETED, within=60)
    assert batch.issued_count == 400_000


async def test_job_of_a_killed_worker_is_taken_over_within_its_lease_and_five_seconds(
    ground: Ground, anchor: FinalAnchor, customer: Customer
) -> None:
    lease = 2.0
    async with ground.owner() as owner, working(ground, anchor, LEASE_SECONDS=lease) as first:
        batch_id = (await customer.order(400_000)).batch.batch_id

        async def issued() -> int:
            return (await customer.batch(batch_id)).issued_count

        async def both_listen() -> bool:
            query = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE $1"
            return int(await owner.fetchval(query, "LISTEN %jobs_factory%")) == 2 * KINDS_OF_JOBS

        await eventually(issued)
        async with contextlib.AsyncExitStack() as second:
            # However fast the first one writes, it is not done before the second one is there.
            async with ground.owner() as keeper, keeper.transaction():
                await keeper.execute("LOCK TABLE products IN SHARE MODE")
                await second.enter_async_context(working(ground, anchor, LEASE_SECONDS=lease))
                await eventually(both_listen)
                await first.kill()
            before = await issued()
            assert before < 400_000

            async def further() -> bool:
                return await issued() > before

            await eventually(further, within=lease + 5)
            await customer.reached(batch_id, COMPLETED, within=60)
