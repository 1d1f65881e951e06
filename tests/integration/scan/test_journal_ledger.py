"""`python -m scan journal` with the real ledger: killed at random with what it stands on, it audits clean."""

import asyncio
import random
from collections.abc import AsyncIterator, Sequence

import pytest

from mesh.ledger import Ledger, Snapshot
from mesh.local.server import Server
from scan.journal import Journal
from tests.fakes.keys import signer
from tests.integration.anchor.processes import running, supervised
from tests.integration.scan.journals import World
from trust.alignment import Row
from trust.audit import Report, audit

ORIGIN = "tests.voketag.com/scans"
ROUNDS = 6


async def audited(world: World) -> Report:
    ledger = Ledger(ORIGIN)
    journal = Journal(ledger)
    async with world.pool() as pool, pool.acquire() as connection:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            size = await Snapshot(ledger, connection, none).size()

            def rows(first: int) -> AsyncIterator[Sequence[Row]]:
                return journal.pages(connection, first, size)

            return await audit(Snapshot(ledger, connection, rows), [signer(ORIGIN).verifier], origin=ORIGIN)


async def none(_: int) -> AsyncIterator[Sequence[Row]]:
    yield ()


async def assert_clean(world: World) -> None:
    report = await audited(world)
    assert report.clean, report.findings
    assert report.size == report.rows == len(world.added)
    found = [row["event_id"].bytes for row in await world.events()]
    assert found == [one.event_id for one in world.added]


@pytest.mark.parametrize("seed", [1, 2])
async def test_killed_at_random_under_load(alone: tuple[World, Server], seed: int) -> None:
    world, postgres = alone
    dice = random.Random(seed)
    env = world.environment(journal_group=50, ledger_origin=ORIGIN)
    for _ in range(ROUNDS):
        async with supervised("scan", "journal", env=env) as writer:
            for _ in range(dice.randrange(2, 8)):
                await world.add_some(dice.randrange(1, 120))
                await asyncio.sleep(dice.random() / 10)
            victim = dice.choice(["writer", "postgres", "valkey"])
            if victim == "writer":
                await asyncio.sleep(dice.random())
                writer.kill()
            else:
                server = postgres if victim == "postgres" else world.server
                await server.kill()
                await server.start()
                await world.add_some(10)
                await world.until_written()
    async with running("scan", "journal", env=env):
        await world.until_written()
        await world.until_trimmed()
    await assert_clean(world)


async def test_forgotten_people_leave_the_ledger_whole_and_a_changed_row_does_not(world: World) -> None:
    some = await world.add_some(700)
    async with running("scan", "journal", env=world.environment(ledger_origin=ORIGIN)):
        await world.until_written()
    await assert_clean(world)
    async with world.pool() as pool:
        for row in await pool.fetch("SELECT product_id, event_id FROM events LIMIT 50"):
            await pool.execute("SELECT forget($1, $2)", row["product_id"], [row["event_id"]])
    await assert_clean(world)
    async with world.owner() as owner:
        await owner.execute("UPDATE scan.events SET verdict = 3 WHERE ledger_index = 300")
        await owner.execute("DELETE FROM scan.events WHERE ledger_index = 600")
    report = await audited(world)
    assert not report.clean
    assert len(some) - report.rows == 2
