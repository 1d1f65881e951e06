"""kill -9 of the writer, of PostgreSQL and of Valkey at every step of a group: every scan is in the journal once."""

import asyncio
import signal
from collections.abc import Awaitable, Callable
from functools import partial

import pytest

from mesh.local.server import Server
from scan.writer import Pace
from tests.fakes.dying_writer import STEPS, Hook, HookedJournal, HookedStream
from tests.integration.anchor.processes import outcome, running
from tests.integration.scan.journals import World, envelope

QUICK = Pace(group=16, poll=0.01, again=0.05, lease=2.0)


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("nth", [1, 3])
async def test_writer_is_killed_and_started_again(world: World, step: str, nth: int) -> None:
    await world.add_some(80)
    env = world.environment(journal_group=16)
    status, said = await outcome("tests.fakes.dying_writer", step, str(nth), env=env)
    assert status == -signal.SIGKILL, said
    assert await world.rows() == 16 * (nth - (step not in {"write:after", "trim:after"}))
    await world.add_some(20)
    async with running("tests.fakes.dying_writer", env=env):
        await world.until_written()
        await world.until_trimmed()
    await world.assert_whole()


def once(at: str, nth: int, act: Callable[[], Awaitable[None]]) -> Hook:
    left = nth

    async def hook(step: str) -> None:
        nonlocal left
        left -= step == at
        if not left and step == at:
            await act()

    return hook


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("which", ["postgres", "valkey"])
async def test_server_is_killed_and_comes_back(alone: tuple[World, Server], step: str, which: str) -> None:
    world, postgres = alone
    server = postgres if which == "postgres" else world.server
    killed = asyncio.Event()

    async def kill() -> None:
        await server.kill()
        killed.set()

    hook = once(step, 2, kill)
    await world.add_some(80)
    parts = {"stream": partial(HookedStream, hook), "journal": HookedJournal(hook), "pace": QUICK}
    async with world.writing(**parts) as metrics:
        async with asyncio.timeout(20):
            await killed.wait()
        await server.start()
        await world.add_some(20)
        await world.until_written()
        await world.until_trimmed()
        assert metrics.faults._value.get() == 0
    await world.assert_whole()


async def test_scans_wait_in_the_stream_while_postgresql_is_away(alone: tuple[World, Server]) -> None:
    world, postgres = alone
    async with world.writing() as metrics:
        await world.add_some(10)
        await world.until_written()
        await postgres.kill()
        await world.add_some(30)
        async with asyncio.timeout(20):
            while metrics._depth.labels(0)._value.get() < 30 or metrics._lag.labels(0)._value.get() < 0.5:
                await asyncio.sleep(0.02)
        assert metrics.leading._value.get() == 0
        await postgres.start()
        await world.until_written()
        await world.until_trimmed()
        async with asyncio.timeout(20):
            while metrics._depth.labels(0)._value.get() or metrics._lag.labels(0)._value.get():
                await asyncio.sleep(0.02)
    await world.assert_whole()


async def test_writer_that_hangs_loses_the_lead(world: World) -> None:
    """Frozen in the middle of a transaction: PostgreSQL ends its session, and another goes on."""
    env = world.environment()
    async with running("tests.fakes.dying_writer", env=env) as frozen:
        await world.add_some(5)
        await world.until_written()
        frozen.send_signal(signal.SIGSTOP)
        await world.add_some(5)
        async with world.writing():
            await world.until_written()
            frozen.send_signal(signal.SIGCONT)
            await world.add(*[envelope() for _ in range(5)])
            await world.until_written()
            async with asyncio.timeout(20):
                frozen.terminate()
                assert await frozen.wait() == 0
    await world.assert_whole()


async def test_standby_takes_over_from_one_that_is_killed(world: World) -> None:
    async with running("tests.fakes.dying_writer", env=world.environment()) as first:
        await world.add_some(10)
        await world.until_written()
        async with world.writing() as metrics:
            assert metrics.leading._value.get() == 0
            first.kill()
            await world.add_some(10)
            await world.until_written()
            assert metrics.leading._value.get() == 1
    await world.assert_whole()
