"""Seeded schedules of faults: whatever happens, every accepted root is anchored exactly once and every proof holds."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from anchor.target import Policy
from mesh.local.anvil import AnvilServer
from tests.fakes.time_stamp_authority import Issuer, TimeStampAuthority
from tests.integration.anchor.office import Office
from tests.integration.anchor.schedule import Schedule, Start
from tests.integration.anchor.site import Site
from tests.integration.anchor.world import Ground, lay_other
from tests.servers import start_anvil

SHARE = 10
"""Seeds that share their chains and a database, one after the other."""
EVENTS = 30
"""For each target."""


def shares(first: int, last: int, share: int = SHARE) -> range:
    return range(first, last, share)


def some(*short: int, long: range) -> list[Any]:
    return [*short, *(pytest.param(seed, marks=pytest.mark.long) for seed in long)]


@asynccontextmanager
async def laid(ground: Ground) -> AsyncIterator[Ground]:
    """A contract on a chain that mines only when it is told to."""
    await ground.rpc("evm_setAutomine", False)
    try:
        yield ground
    finally:
        await ground.web3.provider.disconnect()


@pytest.fixture
async def ground(chain_server: AnvilServer) -> AsyncIterator[Ground]:
    async with laid(await Ground.lay(chain_server.url)) as ground:
        yield ground


@pytest.fixture
async def polygon(tmp_path: Path) -> AsyncIterator[Ground]:
    """Another chain, behind a node of its own."""
    (tmp_path / "polygon").mkdir()
    server = await start_anvil(tmp_path / "polygon")
    try:
        async with laid(await lay_other(server.url)) as ground:
            yield ground
    finally:
        await server.kill()


@pytest.fixture
async def authority(tmp_path: Path) -> AsyncIterator[TimeStampAuthority]:
    async with TimeStampAuthority(tmp_path, Issuer.make()) as server:
        yield server


async def run(schedule: Callable[[int], Schedule], first: int, share: int, targets: int) -> None:
    for seed in range(first, first + share):
        made = schedule(seed)
        try:
            await made.run(EVENTS * targets)
        except BaseException as error:
            error.add_note(f"seed {seed}: {', '.join(made.told)}")
            raise


@pytest.mark.parametrize("first", some(*shares(0, 50), long=shares(1000, 1500)))
async def test_whatever_happens(pool: "asyncpg.Pool[Any]", ground: Ground, first: int) -> None:
    await run(lambda seed: Schedule(pool, ground, seed), first, SHARE, 1)


FEW = 3
"""Seeds that share several targets."""


@pytest.mark.parametrize("policy", ["all chain polygon", "any chain polygon"])
@pytest.mark.parametrize("first", some(2000, long=shares(2100, 2160, FEW)))
async def test_whatever_happens_at_two_chains(
    pool: "asyncpg.Pool[Any]", ground: Ground, polygon: Ground, policy: str, first: int
) -> None:
    others = [lambda course: Site(course, polygon, "polygon")]
    make = partial(Schedule, pool, ground, policy=Policy.parse(policy), others=others)
    await run(make, first, FEW, 2)


@pytest.mark.parametrize("first", some(3000, long=shares(3100, 3160, FEW)))
async def test_whatever_happens_at_a_chain_and_an_authority(
    pool: "asyncpg.Pool[Any]", ground: Ground, authority: TimeStampAuthority, first: int
) -> None:
    others = [lambda course: Office(course, authority)]
    make = partial(Schedule, pool, ground, policy=Policy.parse("all chain tsa"), others=others)
    await run(make, first, FEW, 2)


@pytest.mark.parametrize("first", some(long=shares(4100, 4130, FEW)))
async def test_whatever_happens_at_two_chains_and_an_authority(
    pool: "asyncpg.Pool[Any]", ground: Ground, polygon: Ground, authority: TimeStampAuthority, first: int
) -> None:
    others: list[Start] = [lambda course: Site(course, polygon, "polygon"), lambda course: Office(course, authority)]
    make = partial(Schedule, pool, ground, policy=Policy.parse("2 of chain polygon tsa"), others=others)
    await run(make, first, FEW, 3)
