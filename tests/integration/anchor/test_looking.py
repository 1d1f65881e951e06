"""What a look for waiting roots costs when many have waited before, and that none is overlooked."""

import json
from itertools import islice
from random import Random
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from anchor.store import SQL
from anchor.target_journal import FIRST
from anchor.window import MARGIN_MS, WHOLE, WindowPolicy, Windows
from mesh.clock import new_id
from mesh.config import DatabaseSettings
from mesh.database import load_queries
from tests.integration.anchor.day import COLUMNS, id_at, minutes
from tests.integration.anchor.world import World
from tests.servers import PostgresAddress
from trust.canonical import SubjectKind

ROOTS, MINUTES = 2_000, 10


@pytest.fixture
async def owner(database: DatabaseSettings, postgres: PostgresAddress) -> Any:
    """No vacuum comes by itself."""
    name = database.database_url.rsplit("/", 1)[1]
    connection = await asyncpg.connect(f"{postgres.dsn.rsplit('/', 1)[0]}/{name}")
    await connection.execute("ALTER TABLE anchor.submissions SET (autovacuum_enabled = false)")
    await connection.execute("SET search_path = anchor")
    yield connection
    await connection.close()


async def put(world: World, *rows: Any) -> None:
    await world.pool.copy_records_to_table("submissions", records=rows, columns=list(COLUMNS))


def row(submission_id: UUID) -> tuple[Any, ...]:
    return submission_id, new_id(), SubjectKind.BATCH, 1000, submission_id.bytes * 2


async def pages(owner: Any, since: UUID) -> int:
    """How many the look reads."""
    look = "EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) " + load_queries(SQL).pending_window.sql
    [plan] = json.loads(await owner.fetchval(look, since, ROOTS))
    return int(plan["Plan"]["Shared Hit Blocks"]) + int(plan["Plan"]["Shared Read Blocks"])


@pytest.mark.parametrize("mode", ["force_custom_plan", "force_generic_plan"])
async def test_a_look_does_not_go_over_what_has_waited_before(world: World, owner: Any, mode: str) -> None:
    windows = Windows(world.journal, WindowPolicy(0, ROOTS))
    rows = minutes(ROOTS, Random(7))
    fence = await world.lead()
    for minute in islice(rows, MINUTES):
        await put(world, *minute)
        assert await windows.close_due(fence, await windows.waiting())
    newest = next(rows)[-5:]
    await put(world, *newest)
    waiting = await windows.waiting()
    assert waiting
    assert (waiting.roots, waiting.oldest) == (5, min(newest)[0])
    await owner.execute(f"SET plan_cache_mode = {mode}")
    whole = await pages(owner, FIRST)
    since = UUID(int=waiting.oldest.int - (MARGIN_MS << 80))
    assert await pages(owner, since) * 4 < whole
    await owner.execute("VACUUM submissions")
    assert await pages(owner, FIRST) * 4 < whole, "it was what had waited before"


async def test_a_root_with_an_older_id_is_found_within_some_looks(world: World) -> None:
    windows = Windows(world.journal, WindowPolicy(1000, ROOTS))
    now, before, long_before = id_at(2_000_000_000), id_at(2_000_000_000 - 50), id_at(1_900_000_000)
    await put(world, row(now))
    assert (await windows.waiting()).oldest == now  # type: ignore[union-attr]
    await put(world, row(before))
    assert (await windows.waiting()).oldest == before  # type: ignore[union-attr]
    await put(world, row(long_before))
    seen = [(await windows.waiting()).roots for _ in range(WHOLE)]  # type: ignore[union-attr]
    assert seen == [2] * (WHOLE - 2) + [3, 3]


async def test_a_window_takes_all_whatever_their_ids(world: World) -> None:
    windows = Windows(world.journal, WindowPolicy(0, ROOTS))
    fence = await world.lead()
    await put(world, row(id_at(2_000_000_000)))
    waiting = await windows.waiting()
    await put(world, row(id_at(1_900_000_000)))
    assert await windows.close_due(fence, waiting)
    assert await world.pool.fetchval("SELECT count(*) FROM submissions WHERE tree_id IS NULL") == 0
    assert await windows.waiting() is None
