"""Suspicions: one a product, verdict and day, written with their scan, and sent until the factory service has them."""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from grpc.aio import insecure_channel

from mesh.ledger import Ledger
from mesh.local.process import Child
from scan.event import Envelope
from scan.factors import ProductState
from scan.journal import Journal
from scan.peers import FactoryPeer
from scan.store import Store
from scan.suspicion import Sender
from tests.fakes.told_factory import Mood, ToldFactory
from tests.integration.scan.journals import UNEVENTFUL, World, envelope
from tests.servers import free_port

AGAIN_SECONDS = 0.2


def judged(verdict: int, like: Envelope | None = None) -> Envelope:
    """A scan that the tests' judge gives a verdict; of the same product as another."""
    made = envelope(facts={"verdict": verdict})
    return made._replace(product_id=like.product_id) if like else made


@pytest.fixture
async def factory() -> AsyncIterator[ToldFactory]:
    factory = ToldFactory(free_port())  # type: ignore[abstract]
    yield factory
    await factory.stop()


@asynccontextmanager
async def sending(world: World, factory: ToldFactory) -> AsyncIterator[None]:
    stop = asyncio.Event()
    async with world.pool() as pool, insecure_channel(factory.target) as channel, asyncio.TaskGroup() as group:
        sender = Sender(Store(pool), FactoryPeer(channel).tell, again=AGAIN_SECONDS, poll=0.02)
        group.create_task(sender.run(stop))
        try:
            yield
        finally:
            stop.set()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.01)


async def rows(world: World, *, settled: int = 0) -> list[Any]:
    """The rows, once so many are settled."""
    async with world.owner() as owner, asyncio.timeout(20):
        while True:
            found = await owner.fetch("SELECT * FROM scan.suspicions ORDER BY event_id")
            if sum(row["settled_at"] is not None for row in found) >= settled:
                return list(found)
            await asyncio.sleep(0.02)


async def test_a_product_is_suspected_once_a_day_at_each_level(world: World, factory: ToldFactory) -> None:
    first = judged(2)
    scans = [judged(1), first, judged(2, first), judged(3, first), judged(3, first), judged(4), judged(2)]
    async with world.writing():
        await world.add(*scans[:4])
        await world.until_written()
        await world.add(*scans[4:])
        await world.until_written()
    await factory.start()
    async with sending(world, factory):
        kept = await rows(world, settled=3)
    assert [row["event_id"].bytes for row in kept] == [one.event_id for one in (scans[1], scans[3], scans[6])]
    assert sorted(request.verdict for request in factory.told) == ["LIKELY_COPY", "SUSPICIOUS", "SUSPICIOUS"]
    assert {request.request_id for request in factory.told} == {str(row["event_id"]) for row in kept}


async def test_a_factory_service_that_is_away_loses_nothing(world: World, factory: ToldFactory) -> None:
    async with world.writing(), sending(world, factory):
        await world.add(judged(2), judged(3))
        async with asyncio.timeout(20):
            while min((row["tries"] for row in await rows(world)), default=0) < 2:
                await asyncio.sleep(0.02)
        assert not factory.told
        await factory.start()
        await rows(world, settled=2)
    assert len(factory.told) == 2


async def test_what_is_refused_is_not_sent_again(world: World, factory: ToldFactory) -> None:
    factory.mood = Mood.REFUSES
    await factory.start()
    async with world.writing(), sending(world, factory):
        await world.add(judged(2))
        (row,) = await rows(world, settled=1)
        assert row["refusal"] == "NOT_FOUND: no such product"
        factory.mood = Mood.ANSWERS
        await world.add(judged(3))
        await rows(world, settled=2)
    assert len(factory.told) == 2
    async with world.pool() as pool:
        await Store(pool).forget_suspicions(0)
    assert not await rows(world)


async def test_killed_before_the_call_and_after_it_it_is_sent_under_the_same_id(
    world: World, factory: ToldFactory, tmp_path: Path
) -> None:
    settings = {"factory_target": factory.target, "suspicion_again_seconds": AGAIN_SECONDS}
    command, environment = [sys.executable, "-m", "scan", "journal"], world.environment(**settings)
    journal = Child("journal", command, log=tmp_path / "log", env=environment)
    circumstances = UNEVENTFUL.to_dict(blocked=False) | {"state": ProductState.CONSUMED}
    await world.add(envelope(facts=circumstances))
    await journal.start()
    await world.until_written()
    (row,) = await rows(world)
    await journal.kill()
    assert not factory.told, "nobody listens yet"
    factory.mood = Mood.HANGS
    await factory.start()
    await journal.start()
    await until(lambda: bool(factory.told))
    await journal.kill()
    factory.mood = Mood.ANSWERS
    await journal.start()
    (row,) = await rows(world, settled=1)
    await journal.stop()
    assert len(factory.told) >= 2
    assert {request.request_id for request in factory.told} == {str(row["event_id"])}
    assert factory.told[0].message_codes == ["risk.lifecycle.consumed"]
    assert (factory.told[0].verdict, factory.told[0].risk_score) == ("SUSPICIOUS", 60)


async def test_no_scan_is_there_without_its_suspicion(world: World) -> None:
    async with world.owner() as owner:
        await owner.execute("REVOKE INSERT ON scan.suspicions FROM voketag_scan")
    async with world.writing(journal=Journal(Ledger("tests"))) as metrics:
        await world.add(judged(2))
        await until(lambda: metrics.faults._value.get() > 0)
        assert await world.rows() == 0
        async with world.owner() as owner:
            await owner.execute("GRANT INSERT ON scan.suspicions TO voketag_scan")
        await world.until_written()
    assert len(await rows(world)) == 1
