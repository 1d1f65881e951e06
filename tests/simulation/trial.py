"""A trial: scans of many products in the order of time, counted as Valkey would and judged one by one."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from scan.factors import Facts, ProductState, Reports
from scan.risk import DEFAULT_WEIGHTS, Assessment, Level, Weights, assess
from scan.sessions import pattern
from tests.simulation.counters import BatchKey, Caller, CallerKey, Product


class Event(NamedTuple):
    """A scan of a product in a true place, which we never learn; or, with `bad_tags`, that many wrong codes before it.

    `hostile` marks the scans of an attacker, as opposed to others' scans of the same code.
    """

    at: int
    caller: Caller
    city: str
    bad_tags: int = 0
    hostile: bool = False


@dataclass(slots=True)
class Life:
    """A code and its scans. `kind` is what it stands for in the figures."""

    kind: str
    events: list[Event]
    batch: int = 0
    market: str = "BR"
    state: ProductState = ProductState.SOLD
    reports: Reports = field(default_factory=lambda: Reports(0, 0))


class Judged(NamedTuple):
    """An event and what was said of it."""

    life: int
    event: Event
    facts: Facts
    assessment: Assessment


def run(lives: list[Life], weights: Weights = DEFAULT_WEIGHTS) -> Iterator[Judged]:
    """Every scan of all the lives in the order of time."""
    products: dict[int, Product] = defaultdict(Product)
    batches: dict[int, BatchKey] = defaultdict(BatchKey)
    devices: dict[int, CallerKey] = defaultdict(CallerKey)
    sources: dict[int, CallerKey] = defaultdict(CallerKey)
    order = sorted(((event, number) for number, life in enumerate(lives) for event in life.events), key=_time)
    for event, number in order:
        at, caller, _, bad_tags, _ = event
        life, device, source = lives[number], devices[caller.device], sources[caller.source]
        for _ in range(bad_tags):
            device.bad_tag(at)
            source.bad_tag(at)
        after = products[number].scan(at, caller)
        abroad = caller.place is not None and caller.place.country != life.market
        facts = Facts(
            pattern=pattern(after.sessions, at),
            sessions=after.opened,
            batch=batches[life.batch].scan(after, abroad=abroad),
            device=device.scan(at, number),
            source=source.scan(at, number),
            state=life.state,
            market=life.market,
            place=caller.place,
            reports=life.reports,
        )
        yield Judged(number, event, facts, assess(facts, weights))


def worst(judged: Iterable[Judged]) -> dict[int, Level]:
    """The worst that was said of each life."""
    found: dict[int, Level] = {}
    for one in judged:
        if _RANK[one.assessment.level] >= _RANK[found.get(one.life, Level.ORDINARY)]:
            found[one.life] = one.assessment.level
    return found


_RANK = {level: rank for rank, level in enumerate(Level)}


def _time(item: tuple[Event, int]) -> tuple[int, int]:
    return item[0].at, item[1]
