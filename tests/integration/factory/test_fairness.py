"""One factory's backlog does not hold up another's batch; the measure is how much of the backlog went before it."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from voketag.factory.v1 import factory_pb2

from factory import tenants
from factory.store import Store
from tests.fakes.final_anchor import FinalAnchor
from tests.integration.factory.meters import set_quota
from tests.integration.factory.world import Customer, Door, Ground, eventually, working

pytestmark = pytest.mark.asyncio(loop_scope="module")

BUILT = {factory_pb2.BATCH_STATE_ANCHORING, factory_pb2.BATCH_STATE_COMPLETED}
PATIENCE = 20.0
COUNTS = """
SELECT coalesce(sum(issued_count), 0) AS products, count(*) FILTER (WHERE root IS NOT NULL) AS built
FROM batches WHERE factory_id = $1
"""


@pytest_asyncio.fixture(loop_scope="module")
async def giant(ground: Ground, door: Door) -> AsyncIterator[Customer]:
    """A factory that may order thirty million, and whose orders are gone when the test is over."""
    async with door.customer("Gigante") as giant:
        await set_quota(door, giant, products_a_day=10**9)
        yield giant
    async with ground.owner() as owner:
        await owner.execute("DELETE FROM pgqueuer")
        cancel = "UPDATE batches SET state = 'CANCELLED' WHERE factory_id = $1 AND state IN ('PENDING', 'PROCESSING')"
        await owner.execute(cancel, giant.factory_id)


async def _order_many(giant: Customer, batches: int, products: int) -> None:
    """Orders so many batches, a few at a time."""
    room = asyncio.Semaphore(8)

    async def one() -> None:
        async with room:
            await giant.order(products)

    await asyncio.gather(*(one() for _ in range(batches)))


async def _gone_before(ground: Ground, giant: Customer, customer: Customer) -> tuple[int, int]:
    """Products and batches that the giant got while a batch of 1,000 was ordered and built."""
    async with ground.owner() as owner:

        async def begun() -> bool:
            return bool((await _counts(owner, giant))[0])

        await eventually(begun)
        before = await _counts(owner, giant)
        batch_id = (await customer.order(1000)).batch.batch_id

        async def built() -> bool:
            return (await customer.batch(batch_id)).state in BUILT

        await eventually(built, within=PATIENCE)
        after = await _counts(owner, giant)
    return after[0] - before[0], after[1] - before[1]


async def _counts(owner: Any, giant: Customer) -> tuple[int, int]:
    row = await owner.fetchrow(COUNTS, giant.factory_id)
    return row["products"], row["built"]


async def test_thirty_batches_of_a_million_do_not_hold_up_a_thousand(
    ground: Ground, anchor: FinalAnchor, giant: Customer, customer: Customer
) -> None:
    await _order_many(giant, 30, 1_000_000)
    async with working(ground, anchor):
        products, _ = await _gone_before(ground, giant, customer)
    # By arrival it would be a slot's whole batch, and so most of the twenty that have slots.
    assert products <= 500_000


async def test_many_small_batches_do_not_hold_up_a_thousand(
    ground: Ground, anchor: FinalAnchor, giant: Customer, customer: Customer
) -> None:
    await _order_many(giant, 180, 1000)
    async with working(ground, anchor):
        _, built = await _gone_before(ground, giant, customer)
    assert built <= 60


async def test_worker_has_as_many_slots_as_it_is_told(ground: Ground, anchor: FinalAnchor, giant: Customer) -> None:
    await _order_many(giant, 6, 300_000)
    taken: list[int] = []
    async with ground.owner() as owner, working(ground, anchor, CONCURRENCY=3):

        async def well_under_way() -> bool:
            query = "SELECT count(*) FROM pgqueuer WHERE status = 'picked' AND entrypoint = 'batch.build'"
            taken.append(await owner.fetchval(query))
            return (await _counts(owner, giant))[0] >= 600_000

        await eventually(well_under_way, within=60)
    assert max(taken) == 3


async def test_place_in_line_is_found_by_a_thousand_batches_however_many_wait(ground: Ground, giant: Customer) -> None:
    fill = """
        INSERT INTO batches (factory_id, batch_id, name, state, template, kid, product_count)
        SELECT $1, uuidv7(), '', 'PENDING', '{}', 1, CASE WHEN number % 2 = 0 THEN 1 ELSE 3000 END
        FROM generate_series(1, 5000) AS number
    """
    read = "SELECT seq_tup_read + idx_tup_fetch FROM pg_stat_xact_user_tables WHERE relname = 'batches'"
    async with ground.owner() as owner:
        await owner.execute(fill, giant.factory_id)  # and no ANALYZE: the planner knows of none of them
    pool = await tenants.connect(ground.database.settings("factory"))
    store = Store(pool)
    async with store.transaction(giant.factory_id) as connection:
        before = await connection.fetchval(read) or 0
        backlog = (await store.sql.select_backlog(connection, factory_id=giant.factory_id, at_least=1000))["products"]
        assert await connection.fetchval(read) - before <= 1000
    await pool.close()
    assert backlog == 500 * 1000 + 500 * 3000
