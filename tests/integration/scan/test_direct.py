"""Scans recorded without Valkey: in groups, bounded, refused aloud, and once even when Valkey recorded them too."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from mesh.errors import DependencyUnavailable
from mesh.local.server import Server
from mesh.pipeline import Pipeline, ValkeyAwayError
from mesh.presence import Presence
from scan.direct import Direct
from scan.event import Envelope, MalformedEventError
from scan.journal import Journal
from scan.stream import stream_key
from tests.fakes.chain_ledger import ChainLedger, judge
from tests.integration.scan.journals import World, envelope


@asynccontextmanager
async def direct(world: World, **settings: Any) -> AsyncIterator[Direct]:
    async with world.pool() as pool:
        direct = Direct(pool, Journal(ChainLedger()), judge, entropy=os.urandom, **settings)
        yield direct
        await direct.close()


def some(count: int) -> list[Envelope]:
    return [envelope(counts=None) for _ in range(count)]


async def test_many_scans_share_a_transaction(world: World) -> None:
    scans = some(500)
    async with direct(world) as journal:
        await asyncio.gather(*[journal.record(scan) for scan in scans])
    await world.assert_whole(scans)
    async with world.owner() as owner:
        assert await owner.fetchval("SELECT count(DISTINCT xmin::text) FROM scan.events") <= 3
        assert await owner.fetchval("SELECT count(risk) FROM scan.events") == 0, "nothing was counted"


@pytest.mark.parametrize("first", ["stream", "direct"])
async def test_scan_that_is_in_the_stream_too_is_written_once(world: World, first: str) -> None:
    scans = some(50)
    async with direct(world) as journal:
        if first == "direct":
            await asyncio.gather(*[journal.record(scan) for scan in scans[:20]])
        await world.add(*scans)
        async with world.writing() as metrics:
            await world.until_written()
            await world.until_trimmed()
            assert metrics.repeated._value.get() == (20 if first == "direct" else 0)
        await asyncio.gather(*[journal.record(scan) for scan in scans])
    await world.assert_whole(ordered=first == "stream")


async def insisted(journal: Direct, scan: Envelope) -> None:
    """Records a scan, again when a busy machine took too long over it."""
    while True:
        try:
            return await journal.record(scan)
        except DependencyUnavailable:
            continue


async def test_stream_and_direct_race_for_the_same_scans(world: World) -> None:
    scans = some(600)
    async with direct(world) as journal, world.writing() as metrics:
        for start in range(0, len(scans), 50):
            part = scans[start : start + 50]
            await asyncio.gather(world.add(*part), *[insisted(journal, scan) for scan in part])
        await world.until_trimmed()
        assert metrics.faults._value.get() == 0
    await world.assert_whole(ordered=False)


async def test_call_that_valkey_never_answered_is_written_once(world: World) -> None:
    pipeline = Pipeline(world.valkey_settings, Presence("Valkey of a test"))
    await pipeline.start()
    pid = world.server.child.pid
    assert pid is not None
    scans = some(20)

    async def scan(one: Envelope, journal: Direct) -> None:
        words = [part for pair in one.fields().items() for part in pair]
        with pytest.raises(ValkeyAwayError):
            await pipeline.call("XADD", stream_key(0), "*", *words)
        await journal.record(one)

    async with direct(world) as journal, world.writing():
        os.kill(pid, signal.SIGSTOP)
        try:
            await asyncio.gather(*[scan(one, journal) for one in scans])
        finally:
            os.kill(pid, signal.SIGCONT)
        await world.add_some(5)
        await world.until_written(25)
        await world.until_trimmed()
        async with world.client() as client:
            given = (await client.xinfo_stream(stream_key(0)))["entries-added"]
            assert given == 25, "Valkey had made the calls all the same"
    await pipeline.close()
    await world.assert_whole([*scans, *world.added], ordered=False)


async def test_more_than_may_wait_are_refused_at_once(world: World) -> None:
    scans = some(8)
    async with direct(world, waiting=5, gather_seconds=0.2) as journal:
        waiting = [asyncio.create_task(journal.record(scan)) for scan in scans[:5]]
        await asyncio.sleep(0)
        for scan in scans[5:]:
            with pytest.raises(DependencyUnavailable):
                await asyncio.wait_for(journal.record(scan), 0.1)
        await asyncio.gather(*waiting)
    await world.assert_whole(scans[:5])


async def test_caller_that_goes_away_and_one_with_nonsense_hinder_nobody(world: World) -> None:
    scans = some(3)
    async with direct(world) as journal:
        gone = asyncio.create_task(journal.record(scans[0]))
        await asyncio.sleep(0)
        gone.cancel()
        with pytest.raises(MalformedEventError):
            await journal.record(envelope(country="Brazil"))
        await asyncio.gather(*[journal.record(scan) for scan in scans[1:]])
    await world.assert_whole(scans)


async def test_what_waits_at_the_end_is_written(world: World) -> None:
    scans = some(10)
    async with direct(world, gather_seconds=0.2) as journal:
        waiting = [asyncio.create_task(journal.record(scan)) for scan in scans]
        await asyncio.sleep(0)
    await asyncio.gather(*waiting)
    await world.assert_whole(scans)


async def refused(journal: Direct, scans: list[Envelope]) -> None:
    async with asyncio.timeout(10):
        answers = await asyncio.gather(*[journal.record(scan) for scan in scans], return_exceptions=True)
    assert {type(answer) for answer in answers} == {DependencyUnavailable}


async def test_postgresql_away_too_is_said(alone: tuple[World, Server]) -> None:
    world, postgres = alone
    first, lost, last = some(10), some(10), some(10)
    async with direct(world) as journal:
        await asyncio.gather(*[journal.record(scan) for scan in first])
        await postgres.kill()
        await refused(journal, lost)
        await postgres.start()
        await asyncio.gather(*[journal.record(scan) for scan in last])
    await world.assert_whole([*first, *last])


async def test_postgresql_that_hangs_keeps_nobody_waiting(alone: tuple[World, Server]) -> None:
    world, _ = alone
    first, lost, last = some(10), some(10), some(10)
    async with direct(world) as journal, world.owner() as owner:
        await asyncio.gather(*[journal.record(scan) for scan in first])
        async with owner.transaction():
            await owner.execute("SELECT FROM public.chain FOR UPDATE")
            await refused(journal, lost)
        await asyncio.gather(*[journal.record(scan) for scan in last])
    await world.assert_whole([*first, *last])


async def test_clock_of_another_year_is_refused(world: World) -> None:
    async with direct(world) as journal:
        await refused(journal, [envelope(event_id=bytes(6) + b"\x70\x00\x80" + bytes(7))])
    assert await world.rows() == 0
