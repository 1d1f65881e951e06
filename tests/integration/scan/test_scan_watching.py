"""Watching the journal itself: in order and whole, from any place on, slow watchers and a PostgreSQL that goes away."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any
from uuid import UUID

import pytest

from mesh.clock import SystemClock, new_id
from mesh.errors import PositionLost, ShuttingDown
from mesh.ledger import Ledger
from mesh.local.server import Server
from scan.event import Envelope
from scan.journal import Journal
from scan.store import Store
from scan.watching import FAR_BEHIND, Pace, Seen, Watching
from tests.integration.scan.journals import World, envelope

QUICK = Pace(poll=0.01, silence=0.2, queue=20)
MINE, OTHER = new_id(), new_id()


@asynccontextmanager
async def watched(world: World) -> AsyncIterator[Watching]:
    """A journal that is written, and watched."""
    async with world.writing(journal=Journal(Ledger("tests"))), world.pool() as pool:
        yield Watching(Store(pool), SystemClock(), pace=QUICK)


def scans(count: int, factory_id: UUID = MINE) -> list[Envelope]:
    return [envelope(factory_id=factory_id.bytes) for _ in range(count)]


def ids(seen: list[Seen]) -> list[bytes]:
    return [scan.event_id.bytes for one in seen for scan in one.scans]


async def gather(watch: Any, count: int) -> list[Seen]:
    """What comes until there are so many scans."""
    seen: list[Seen] = []
    async with asyncio.timeout(20):
        async for one in watch:
            seen.append(one)
            if len(ids(seen)) + sum(each.missed for each in seen) >= count:
                return seen
    raise AssertionError


async def test_each_watcher_sees_its_factory_s_scans_in_order(world: World) -> None:
    async with watched(world) as watching:
        mine, every = watching.watch(MINE, None), watching.watch(None, None)
        async with aclosing(mine), aclosing(every):
            assert [await anext(watch) for watch in (mine, every)] == [Seen((), 0, -1)] * 2
            first, other = scans(7), scans(5, OTHER)
            await world.add(*first, *other)
            seen = await gather(mine, 7)
            assert ids(seen) == [one.event_id for one in first]
            assert {scan.factory_id for one in seen for scan in one.scans} == {MINE}
            assert ids(await gather(every, 12)) == [one.event_id for one in (*first, *other)]
            assert not (await anext(mine)).scans, "a sign of life"
        assert watching._reader is None, "nobody reads when nobody watches"


async def test_whoever_comes_back_misses_nothing(world: World) -> None:
    async with watched(world) as watching:
        before, between, after = scans(3), scans(30), scans(4)
        await world.add(*before, *scans(3, OTHER))
        await world.until_written()
        async with aclosing(watching.watch(MINE, -1)) as watch:
            seen = await gather(watch, 3)
            assert ids(seen) == [one.event_id for one in before]
        await world.add(*between)
        await world.until_written()
        async with aclosing(watching.watch(MINE, seen[-1].position)) as watch:
            caught = await gather(watch, 30)
            await world.add(*after)
            assert ids(caught + await gather(watch, 4)) == [one.event_id for one in (*between, *after)]
        for lost in (1_000, -1 - FAR_BEHIND - 1):
            with pytest.raises(PositionLost):
                await anext(watching.watch(MINE, lost))


async def test_a_slow_watcher_loses_the_oldest_and_holds_nobody_up(world: World) -> None:
    async with watched(world) as watching:
        slow, quick = watching.watch(MINE, None), watching.watch(MINE, None)
        async with aclosing(slow), aclosing(quick):
            await anext(slow)
            await anext(quick)
            many = scans(60)
            for start in range(0, 60, 10):
                await world.add(*many[start : start + 10])
                assert ids(await gather(quick, 10)) == [one.event_id for one in many[start : start + 10]]
            (left,) = await gather(slow, 60)
            assert (left.missed, ids([left])) == (40, [one.event_id for one in many[40:]])


async def test_watching_goes_on_after_postgresql_was_away(alone: tuple[World, Server]) -> None:
    world, postgres = alone
    async with watched(world) as watching, aclosing(watching.watch(None, None)) as watch:
        await anext(watch)
        before, meanwhile = scans(2), scans(3)
        await world.add(*before)
        seen = await gather(watch, 2)
        await postgres.kill()
        await world.add(*meanwhile)
        assert not (await anext(watch)).scans
        await postgres.start()
        assert ids(seen + await gather(watch, 3)) == [one.event_id for one in (*before, *meanwhile)]


async def test_watchers_are_sent_away_when_the_server_drains(world: World) -> None:
    async with watched(world) as watching, aclosing(watching.watch(None, None)) as watch:
        await anext(watch)
        waiting = asyncio.ensure_future(anext(watch))
        await asyncio.sleep(0)
        watching.close()
        with pytest.raises(ShuttingDown):
            await waiting
            await anext(watch)
