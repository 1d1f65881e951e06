"""Notices of changed cards, from a real PostgreSQL: heard, and known to be missing when the connection goes."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import asyncpg

from mesh.clock import SystemClock, new_id
from scan.changes import Changes
from scan.feed import Feed
from tests.integration.scan.world import Database, connected
from tests.servers import PASSWORD

ANY = new_id().bytes


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.01)


@asynccontextmanager
async def following(database: Database) -> AsyncIterator[Changes]:
    clock = SystemClock()
    changes = Changes(clock)
    async with asyncpg.create_pool(database.scan_dsn, password=PASSWORD, min_size=0, max_size=2) as pool:
        async with Feed(pool, changes, clock).followed():
            await until(lambda: changes.none_since(clock.monotonic(), ANY, ANY))
            yield changes


async def test_a_batch_that_moves_is_noticed(database: Database) -> None:
    batch = await database.batch(state="PENDING")
    other = await database.batch(state="PENDING")
    clock = SystemClock()
    async with following(database) as changes:
        read_at = clock.monotonic()
        assert changes.none_since(read_at, ANY, batch.batch_id.bytes)
        await database.move(batch, "CANCELLED")
        await until(lambda: not changes.none_since(read_at, ANY, batch.batch_id.bytes))
        assert changes.none_since(read_at, ANY, other.batch_id.bytes)


async def test_a_lost_connection_ends_certainty_until_notices_are_followed_again(database: Database) -> None:
    clock = SystemClock()
    async with following(database) as changes:
        read_at = clock.monotonic()
        async with connected(database.owner_dsn) as owner:
            await owner.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE usename = 'voketag_scan' AND datname = current_database()"
            )
        await until(lambda: not changes.none_since(read_at, ANY, ANY))
        await until(lambda: changes.none_since(clock.monotonic(), ANY, ANY))
        assert not changes.none_since(read_at, ANY, ANY), "what was read before may have changed unheard"
