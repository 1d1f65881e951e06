"""The functions in Valkey against their reference in plain Python, scan by scan."""

import asyncio
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable
from random import Random
from typing import Any, NamedTuple

import pytest

from mesh.clock import SystemClock, new_id
from mesh.cluster import lanes
from mesh.config import SpreadSettings
from mesh.errors import RateLimited
from mesh.limits import LocalLimiter, Rate
from mesh.pipeline import Lane, Lanes
from mesh.presence import Presence
from scan.caller import Caller
from scan.counters import Budgets, Counters
from scan.counts import MICROSECONDS, Counts
from scan.factors import Activity
from scan.sessions import Place, unpack
from scan.shard import Sighting, product_key, shard_of
from scan.stream import hash_tag, stream_key
from tests.simulation.counters import BatchKey, CallerKey, Product
from tests.simulation.counters import Caller as ModelCaller

ENDLESS = Rate(1_000_000, 1_000_000)
PLACES = [None, Place("BR", 12_127), Place("BR", 15_000), Place("BR", 0), Place("US", 20_000)]


class Layout(NamedTuple):
    """Where counters lie: the address, whether it is a cluster's, and over how many shards."""

    url: str
    cluster: bool
    shards: int

    @property
    def settings(self) -> SpreadSettings:
        return SpreadSettings(valkey_url=self.url, valkey_cluster=self.cluster)


@pytest.fixture(params=["one server", "four shards", "cluster"])
def layout(request: pytest.FixtureRequest) -> Layout:
    if request.param == "cluster":
        return Layout(request.getfixturevalue("valkey_cluster").url, cluster=True, shards=7)
    return Layout(request.getfixturevalue("valkey").url, cluster=False, shards=4 if "shards" in request.param else 1)


class CountingLanes:
    """Knows how many calls were made of one shard."""

    def __init__(self, lanes: Lanes) -> None:
        self._lanes = lanes
        self.start, self.everywhere, self.close = lanes.start, lanes.everywhere, lanes.close
        self.calls: Counter[bytes] = Counter()

    def at(self, tag: bytes) -> "CountingLane":
        return CountingLane(self, self._lanes.at(tag), tag)


class CountingLane(NamedTuple):
    lanes: CountingLanes
    lane: Lane
    tag: bytes

    def call(self, *words: str | bytes | int) -> Awaitable[Any]:
        self.lanes.calls[self.tag] += 1
        return self.lane.call(*words)


@pytest.fixture
async def hot(layout: Layout) -> AsyncIterator[CountingLanes]:
    hot = CountingLanes(lanes(layout.settings, Presence("Valkey")))
    await hot.start()
    yield hot
    await hot.close()


async def counters(hot: Lanes, layout: Layout, **budgets: Rate) -> Counters:
    every = {"source": ENDLESS, "device": ENDLESS, "code": ENDLESS, "factory": ENDLESS} | budgets
    clock = SystemClock()
    made = Counters(hot, LocalLimiter(clock), Budgets(**every), clock, Presence("functions"), shards=layout.shards)
    await made.load()
    return made


def sighting(**given: Any) -> Sighting:
    caller = Caller(new_id().bytes, new_id().bytes, None)
    ids: dict[str, Any] = {name: new_id().bytes for name in ("event_id", "product_id", "batch_id", "factory_id")}
    return Sighting(**({**ids, "market": "BR", "caller": caller, "payload": b"said"} | given))


def neighbour(layout: Layout, product_id: bytes) -> bytes:
    """Another product of the same shard."""
    wanted = shard_of(product_id, layout.shards)
    return next(found for found in iter(lambda: new_id().bytes, b"") if shard_of(found, layout.shards) == wanted)


class Model:
    """What the reference counts of the same scans in one shard."""

    def __init__(self) -> None:
        self.products: dict[bytes, Product] = defaultdict(Product)
        self.callers: dict[bytes, CallerKey] = defaultdict(CallerKey)
        self.batches: dict[bytes, BatchKey] = defaultdict(BatchKey)
        self.first_countries: dict[bytes, str] = {}

    def agrees(self, sighting: Sighting, counts: Counts) -> None:
        assert sighting.caller.device is not None
        assert sighting.batch_id is not None
        second, place = counts.now // MICROSECONDS, sighting.caller.place
        device, source = int.from_bytes(sighting.caller.device[:4]), int.from_bytes(sighting.caller.source[:2])
        seen = self.products[sighting.product_id].scan(second, ModelCaller(device, source, place))
        assert (counts.scans, counts.opened) == (seen.scans, seen.opened)
        first_country = self.first_countries.setdefault(sighting.product_id, place.country if place else "")
        assert counts.history.first_country == first_country
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
async def test_valkey_counts_as_the_reference_does(hot: Lanes, layout: Layout, seed: int) -> None:
    random, models, probes = Random(f"{seed} of {layout.shards}"), [Model() for _ in range(layout.shards)], 0
    counting = await counters(hot, layout)
    products = [(random.randbytes(16), random.randrange(3)) for _ in range(8)]
    batches = [random.randbytes(16) for _ in range(3)]
    devices, sources = [random.randbytes(16) for _ in range(30)], [random.randbytes(16) for _ in range(12)]
    second = 0
    for _ in range(400):
        product_id, of_batch = random.choice(products)
        caller = Caller(random.choice(devices), random.choice(sources), random.choice(PLACES))
        if second and random.random() < 0.1:
            await counting.probe(caller)
            models[probes % layout.shards].probed(caller, second)
            probes += 1
            continue
        given = sighting(product_id=product_id, batch_id=batches[of_batch], caller=caller)
        counts = await counted(counting, given)
        models[shard_of(product_id, layout.shards)].agrees(given, counts)
        second = counts.now // MICROSECONDS


@pytest.mark.parametrize(
    ("budget", "shared"),
    [("source", "caller"), ("device", "caller"), ("code", "product_id"), ("factory", "factory_id")],
)
async def test_each_budget_holds_its_own_back_and_counts_nothing(
    hot: Lanes, layout: Layout, budget: str, shared: str
) -> None:
    whole = layout.shards if budget == "factory" else 1  # a factory's is split over the shards
    counting = await counters(hot, layout, **{budget: Rate(0.01 * whole, 3 * whole)})
    first = sighting()

    def another() -> Sighting:
        return sighting(**{"product_id": neighbour(layout, first.product_id), shared: getattr(first, shared)})

    for expected in (1, 2, 3):
        counts = await counted(counting, another())
        assert counts.scans == (expected if shared == "product_id" else 1)
    again = another()
    for _ in range(2):
        with pytest.raises(RateLimited) as refused:
            await counting.scan(again)
        assert refused.value.retry_after is not None
        assert 90 < refused.value.retry_after <= 100
    kept = await counting.peek(again.product_id, again.batch_id)
    assert kept is not None
    assert kept.scans == (3 if shared == "product_id" else 0)
    assert (await counted(counting, sighting())).scans == 1, "others are served"


async def test_scans_of_one_turn_are_one_call(hot: CountingLanes, layout: Layout) -> None:
    counting = await counters(hot, layout)
    product_id = new_id().bytes
    counts = await asyncio.gather(*[counted(counting, sighting(product_id=product_id)) for _ in range(150)])
    assert 1 <= hot.calls[hash_tag(shard_of(product_id, layout.shards))] <= 3
    assert len(hot.calls) == 1, "one shard's product is no business of another's"
    assert sorted(count.scans for count in counts) == list(range(1, 151))
    assert len({count.first for count in counts}) == 1


async def test_each_shard_gets_its_own_scans_at_once(hot: CountingLanes, layout: Layout) -> None:
    counting = await counters(hot, layout)
    given = [sighting() for _ in range(150)]
    counts = await asyncio.gather(*[counted(counting, one) for one in given])
    assert {count.scans for count in counts} == {1}
    shards = {hash_tag(shard_of(one.product_id, layout.shards)) for one in given}
    assert len(shards) == layout.shards
    assert hot.calls.keys() == shards
    assert max(hot.calls.values()) <= 3


async def test_the_stream_holds_what_the_scan_was_told(hot: Lanes, layout: Layout) -> None:
    counting = await counters(hot, layout)
    given = sighting(payload=b"what was said")
    told = await counting.scan(given)
    shard = shard_of(given.product_id, layout.shards)
    entries = await hot.at(hash_tag(shard)).call("XREVRANGE", stream_key(shard), "+", "-", "COUNT", 100)
    fields = [dict(zip(entry[1][::2], entry[1][1::2], strict=True)) for entry in entries]
    mine = next(found for found in fields if found.get(b"e") == given.event_id)
    assert mine == {b"e": given.event_id, b"p": given.product_id, b"s": b"what was said", b"c": told}


async def test_an_unknown_caller_and_an_unknown_card_are_scans_too(hot: Lanes, layout: Layout) -> None:
    counting = await counters(hot, layout)
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


async def test_lost_functions_are_given_again(hot: Lanes, layout: Layout) -> None:
    counting = await counters(hot, layout)
    await hot.everywhere("FUNCTION", "DELETE", "voketag_scan_v2")
    for _ in range(layout.shards):
        assert (await counted(counting, sighting())).scans == 1


async def test_a_product_takes_little_memory(hot: Lanes, layout: Layout) -> None:
    counting = await counters(hot, layout)
    product_id = new_id().bytes
    shard = shard_of(product_id, layout.shards)
    for scans in range(1, 41):
        await counted(counting, sighting(product_id=product_id))
        taken = await hot.at(hash_tag(shard)).call("MEMORY", "USAGE", product_key(product_id, shard))
        assert taken <= (200 if scans <= 3 else 512)
