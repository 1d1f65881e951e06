"""The schema: months of products are there before they are needed, and bringing it up again changes nothing."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import asyncpg
import pytest

from factory.schema import bring_up
from tests.integration.factory.world import Customer, Ground, Import, eventually, rows

pytestmark = pytest.mark.asyncio(loop_scope="module")

INSERT = "INSERT INTO products (product_id, batch_id, index, kid, state) VALUES ($1, gen_random_uuid(), 0, 1, 0)"


def id_at(moment: datetime, rest: int) -> UUID:
    return UUID(int=(int(moment.timestamp() * 1000) << 80) | (7 << 76) | (2 << 62) | rest)


async def test_months_are_made_ahead_by_the_services_role(ground: Ground) -> None:
    service = await asyncpg.connect(ground.database.url("factory"), password=ground.database.server.password)
    try:
        late = datetime.now(UTC).replace(day=1) + timedelta(days=31 * 6 + 15)
        with pytest.raises(asyncpg.CheckViolationError, match="no partition"):
            await service.execute(INSERT.replace("products", "factory.products", 1), id_at(late, 1))
        assert await service.fetchval("SELECT factory.ensure_partitions(3)") == 0
        assert await service.fetchval("SELECT factory.ensure_partitions(7)") == 4
        assert await service.fetchval("SELECT factory.ensure_partitions(7)") == 0
        await service.execute(INSERT.replace("products", "factory.products", 1), id_at(late, 1))
    finally:
        await service.close()


async def test_every_moment_belongs_to_its_month(ground: Ground) -> None:
    start = datetime.now(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    async with ground.owner() as owner:
        for moment in (start - timedelta(milliseconds=1), start, start + timedelta(days=27)):
            for rest in (0, (1 << 62) - 1):
                product_id = id_at(moment, rest)
                await owner.execute(INSERT, product_id)
                found = await owner.fetchval(
                    "SELECT tableoid::regclass::text FROM products WHERE product_id = $1", product_id
                )
                assert found == f"products_{moment:%Y_%m}"


async def test_bringing_it_up_again_changes_nothing(ground: Ground) -> None:
    async with ground.owner() as owner:
        query = "SELECT relname, relkind FROM pg_class WHERE relnamespace = 'factory'::regnamespace ORDER BY 1"
        before = await owner.fetch(query)
        await bring_up(owner)
        assert await owner.fetch(query) == before


async def test_chunks_change_their_batch_in_its_place(ground: Ground, customer: Customer) -> None:
    stream = await Import(customer).open()
    for first in range(0, 300, 10):
        await stream.chunk(first, rows(10, first))
    async with ground.owner() as owner:
        query = "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relid = 'batches'::regclass"

        async def counted() -> bool:
            row = await owner.fetchrow(query)
            return bool(row and row["n_tup_upd"] >= 30 and row["n_tup_hot_upd"] == row["n_tup_upd"])

        await eventually(counted)
