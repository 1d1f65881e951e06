"""What a root takes on disk, and that the leaner indexes lead to it."""

from datetime import UTC, datetime
from itertools import islice
from random import Random
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from anchor.submission import Progress
from mesh.clock import new_id
from mesh.config import DatabaseSettings
from tests.integration.anchor.day import COLUMNS, Autovacuum, minutes
from tests.integration.anchor.world import World
from tests.servers import PostgresAddress
from trust.canonical import SubjectKind

ROOTS = 2_500
"""A window's: at 694, a minute's of a million a day, it takes as much and more windows."""
TABLES = ("submissions", "trees", "tiles", "stamps", "transactions", "attempts")
BYTES = 300


async def size(pool: "asyncpg.Pool[Any]") -> int:
    return sum([await pool.fetchval("SELECT pg_total_relation_size($1::text::regclass)", name) for name in TABLES])


@pytest.fixture
async def owner(database: DatabaseSettings, postgres: PostgresAddress) -> Any:
    name = database.database_url.rsplit("/", 1)[1]
    connection = await asyncpg.connect(f"{postgres.dsn.rsplit('/', 1)[0]}/{name}")
    yield connection
    await connection.close()


async def test_a_root_takes_300_bytes_at_most(world: World, owner: Any) -> None:
    vacuum, windows = Autovacuum(owner, "anchor.submissions"), 24
    world.configure(window_roots=ROOTS)
    before = await size(world.pool)
    for rows in islice(minutes(ROOTS, Random(5)), windows):
        await world.pool.copy_records_to_table("submissions", records=rows, columns=list(COLUMNS))
        await world.round()
        await vacuum.minute(ROOTS)
    assert vacuum.runs > 5
    assert await world.pool.fetchval("SELECT count(leaf_index) FROM submissions") == windows * ROOTS
    assert (await size(world.pool) - before) / (windows * ROOTS) <= BYTES


async def test_anchors_of_large_trees_are_read_from_any_place(world: World) -> None:
    """Leaves are found by the 256 that they are among."""
    world.configure(window_roots=ROOTS)
    rows = next(minutes(ROOTS, Random(6)))
    await world.pool.copy_records_to_table("submissions", records=rows, columns=list(COLUMNS))
    await world.reach("final")
    for after in (0, 1, 254, 255, 256, 257, 511, 512, 2_000, ROOTS - 1):
        found = await world.store.final_after(after, 100)
        positions = list(range(after + 1, min(after + 100, ROOTS) + 1))
        assert [position for position, _ in found] == positions
        assert [anchor.leaf and anchor.leaf.index + 1 for _, anchor in found] == positions
    assert await world.store.final_after(ROOTS, 100) == []


async def test_pages_go_through_waiting_and_placed_roots_by_their_ids(world: World) -> None:
    """Also where a root came late, and has a lower id than others that have a leaf already."""
    late, *early, newest = [new_id() for _ in range(12)]
    await put(world, early)
    await world.reach("final")
    await put(world, [late, newest])
    everything = [newest, *reversed(early), late]
    assert await listed(world, 3) == everything
    assert await listed(world, 2, progress=Progress.PENDING) == [newest, late]
    assert await listed(world, 4, progress=Progress.FINAL) == list(reversed(early))


async def put(world: World, ids: list[Any]) -> None:
    rows = [(each, new_id(), SubjectKind.BATCH, 1000, bytes(32)) for each in ids]
    await world.pool.copy_records_to_table("submissions", records=rows, columns=list(COLUMNS))


async def listed(world: World, limit: int, progress: Progress | None = None) -> list[Any]:
    before, ids = UUID(int=2**128 - 1), []
    between = (datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC))
    while page := await world.store.page(
        before=before, progress=progress, batch_ids=None, between=between, limit=limit
    ):
        ids += [anchor.submission_id for anchor in page]
        before = ids[-1]
    return ids
