"""Seeded schedules of faults: whatever happens, every accepted root is anchored exactly once and every proof holds."""

from typing import Any

import asyncpg
import pytest

from mesh.local.anvil import AnvilServer
from tests.integration.anchor.schedule import Schedule
from tests.integration.anchor.world import Ground

SHARE = 10
"""Seeds that share a chain and a database, one after the other."""
EVENTS = 30


def shares(first: int, last: int) -> range:
    return range(first, last, SHARE)


@pytest.mark.parametrize(
    "first", [*shares(0, 50), *(pytest.param(seed, marks=pytest.mark.long) for seed in shares(1000, 1500))]
)
async def test_whatever_happens(pool: "asyncpg.Pool[Any]", chain_server: AnvilServer, first: int) -> None:
    ground = await Ground.lay(chain_server.url)
    await ground.rpc("evm_setAutomine", False)
    try:
        for seed in range(first, first + SHARE):
            await run(Schedule(pool, ground, seed), seed)
    finally:
        await ground.web3.provider.disconnect()


async def run(schedule: Schedule, seed: int) -> None:
    try:
        await schedule.run(EVENTS)
    except BaseException as error:
        error.add_note(f"seed {seed}: {', '.join(schedule.told)}")
        raise
