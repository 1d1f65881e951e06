"""The functions in Valkey against their reference in plain Python, scan by scan."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from random import Random
from typing import Any

import pytest

from mesh.clock import SystemClock, new_id
from mesh.config import ValkeySettings
from mesh.errors import RateLimited
from mesh.limits import LocalLimiter, Rate
from mesh.pipeline import Pipeline
from mesh.presence import Presence
from scan.caller import Caller
from scan.counters import STREAM, Budgets, Counters, Sighting
from scan.counts import MICROSECONDS, Counts
from scan.factors import Activity
from scan.sessions import Place, unpack
from tests.servers import ValkeyAddress
from tests.simulation.counters import BatchKey, CallerKey, Product
from tests.simulation.counters import Caller as ModelCaller

ENDLESS = Rate(1_000_000, 1_000_000)
PLACES = [None, Place("BR", 12_127), Place("BR", 15_000), Place("BR", 0), Place("US", 20_000)]


class CountingPipeline(Pipeline):
    """Knows how many calls it made."""

    calls = 0

    def call(self, *words: str | bytes | int) -> "asyncio.Future[Any]":
        self.calls += 1
        return super().call(*words)


@pytest.fixture
async def pipeline(valkey: ValkeyAddress) -> AsyncIterator[CountingPipeline]:
    pipeline = CountingPipeline(ValkeySettings(valkey_url=valkey.url), Presence("Valkey"))
    await pipeline.start()
    yield pipeline
    await pipeline.close()


async def counters(pipeline: Pipeline, **budgets: Rate) -> Counters:
    every = {"source": ENDLESS, "device": ENDLESS, "code": ENDLESS, "factory": ENDLESS} | budgets
    clock = SystemClock()
    made = Counters(pipeline, LocalLimiter(clock), Budgets(**every), clock, Presence("functions"))
    await made.load()
    return made


def sighting(**given: Any) -> Sighting:
    caller = Caller(new_id().bytes, new_id().bytes, None)
    ids: dict[str, Any] = {name: new_id().bytes for name in ("event_id", "product_id", "batch_id", "factory_id")}
    return Sighting(**({**ids, "market": "BR", "caller": caller, "payload": b"said"} | given))


class Model:
    """What the reference counts of the same scans."""

    def __init__(self) -> None:
        self.products: dict[bytes, Product] = defaultdict(Product)
        self.callers: dict[bytes, CallerKey] = defaultdict(CallerKey)
        self.batches: dict[bytes, BatchKey] = defaultdict(BatchKey)

    def agrees(self, sighting: Sighting, counts: Counts) -> None:
        assert sighting.caller.device is not None
        assert sighting.batch_id is not None
        second, place = counts.now // MICROSECONDS, sighting.caller.place
        device, source = int.from_bytes(sighting.caller.device[:4]), int.from_bytes(sighting.caller.source[:2])
        seen = self.products[sighting.product_id].scan(second, ModelCaller(device, source, place))
        assert (counts.scans, counts.opened) == (seen.scans, seen.opened)
        assert [session[1:] for session in unpack(counts.sessions)] == [session[1:] for session in seen.sessions]
        number = int.from_bytes(sighting.product_id[12:])
        assert counts.device == self.callers[sighting.caller.device].scan(second, number)
        assert counts.source == self.callers[sighting.caller.source].scan(second, number)
        abroad = place is not None and place.country != sighting.market
        assert counts.batch == self.batches[sighting.batch_id].scan(seen, abroad=abroad)

    def probed(self, caller: Caller, second: int) -> None:
        assert caller.device is not None
        for name in (caller.device, caller.source):
            self.callers[name].bad_tag(second)


async def counted(counting: Counters, given: Sighting) -> Counts:
    told = await counting.scan(given)
    assert told is not None
    return Counts.read(told)


@pytest.mark.parametrize("seed", range(3))
async def test_valkey_counts_as_the_reference_does(pipeline: Pipeline, seed: int) -> None:
    random, model = Random(seed), Model()
    counting = await counters(pipeline)
    products = [(random.randbytes(16), random.randrange(3)) for _ in range(8)]
    batches = [random.randbytes(16) for _ in range(3)]
    devices, sources = [random.randbytes(16) for _ in range(30)], [random.randbytes(16) for _ in range(12)]
    second = 0
    for _ in range(400):
        product_id, of_batch = random.choice(products)
        caller = Caller(random.choice(devices), random.choice(sources), random.choice(PLACES))
        if second and random.random() < 0.1:
            await counting.probe(caller)
            model.probed(caller, second)
            continue
        given = sighting(product_id=product_id, batch_id=batches[of_batch], caller=caller)
        counts = await counted(counting, given)
        model.agrees(given, counts)
        second = counts.now // MICROSECONDS


@pytest.mark.parametrize(
    ("budget", "shared"),
    [("source", "caller"), ("device", "caller"), ("code", "product_id"), ("factory", "factory_id")],
)
async def test_each_budget_holds_its_own_back_and_counts_nothing(pipeline: Pipeline, budget: str, shared: str) -> None:
    counting = await counters(pipeline, **{budget: Rate(0.01, 3)})
    first = sighting()
    same = {shared: getattr(first, shared)}
    for expected in (1, 2, 3):
        counts = await counted(counting, sighting(**same))
        assert counts.scans == (expected if shared == "product_id" else 1)
    again = sighting(**same)
    for _ in range(2):
        with pytest.raises(RateLimited) as refused:
            await counting.scan(again)
        assert refused.value.retry_after is not None
        assert 90 < refused.value.retry_after <= 100
    kept = await counting.peek(again.product_id, again.batch_id)
    assert kept is not None
    assert kept.scans == (3 if shared == "product_id" else 0)
    assert (await counted(counting, sighting())).scans == 1, "others are served"


async def test_scans_of_one_turn_are_one_call(pipeline: CountingPipeline) -> None:
    counting = await counters(pipeline)
    product_id = new_id().bytes
    before = pipeline.calls
    counts = await asyncio.gather(*[counted(counting, sighting(product_id=product_id)) for _ in range(150)])
    assert pipeline.calls - before <= 3
    assert sorted(count.scans for count in counts) == list(range(1, 151))
    assert len({count.first for count in counts}) == 1


async def test_the_stream_holds_what_the_scan_was_told(pipeline: Pipeline) -> None:
    counting = await counters(pipeline)
    given = sighting(payload=b"what was said")
    told = await counting.scan(given)
    entries = await pipeline.call("XREVRANGE", STREAM, "+", "-", "COUNT", 100)
    fields = [dict(zip(entry[1][::2], entry[1][1::2], strict=True)) for entry in entries]
    mine = next(found for found in fields if found.get(b"e") == given.event_id)
    assert mine == {b"e": given.event_id, b"p": given.product_id, b"s": b"what was said", b"c": told}


async def test_an_unknown_caller_and_an_unknown_card_are_scans_too(pipeline: Pipeline) -> None:
    counting = await counters(pipeline)
    source, product_id = new_id().bytes, new_id().bytes
    for scans in (1, 2):
        counts = await counted(
            counting,
            sighting(product_id=product_id, batch_id=None, factory_id=None, caller=Caller(None, source, None)),
        )
        assert (counts.scans, counts.opened, counts.sessions) == (scans, 0, b"")
        assert counts.source is not None
        assert counts.source.hour == scans
        assert (counts.device, counts.batch.sessions) == (Activity(), 0)


async def test_lost_functions_are_given_again(pipeline: Pipeline) -> None:
    counting = await counters(pipeline)
    await pipeline.call("FUNCTION", "DELETE", "voketag_scan_v2")
    assert (await counted(counting, sighting())).scans == 1


async def test_a_product_takes_little_memory(pipeline: Pipeline) -> None:
    counting = await counters(pipeline)
    product_id = new_id().bytes
    for scans in range(1, 41):
        await counted(counting, sighting(product_id=product_id))
        taken = await pipeline.call("MEMORY", "USAGE", b"scan:p:{0}:" + product_id)
        assert taken <= (200 if scans <= 3 else 512)
