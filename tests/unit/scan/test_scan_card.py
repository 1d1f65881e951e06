"""Cards: asked for together, remembered for a moment, and served on when PostgreSQL is away."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from uuid import UUID

import pytest

from mesh.errors import DependencyUnavailable
from mesh.presence import Presence
from scan.card import Card, Cards, CardsAwayError, Found, Limits
from scan.changes import Changes
from scan.factors import ProductState
from tests.fakes.clock import HandClock


class Shelf:
    """Cards to be read; records what is asked for together, and can be away or slow."""

    def __init__(self) -> None:
        self.asked: list[list[bytes]] = []
        self.missing: set[bytes] = set()
        self.failure: Exception | None = None
        self.gate = asyncio.Event()
        self.gate.set()

    async def read(self, product_ids: Sequence[bytes]) -> Mapping[bytes, Card]:
        self.asked.append(list(product_ids))
        await self.gate.wait()
        if self.failure:
            raise self.failure
        return {product_id: card(product_id) for product_id in product_ids if product_id not in self.missing}


AWAY = DependencyUnavailable(dependency="PostgreSQL")
LIMITS = Limits(capacity=3, fresh_seconds=2.0, stale_seconds=60.0)


def card(product_id: bytes) -> Card:
    return Card(UUID(bytes=product_id), UUID(int=1), UUID(int=9), 0, 1, ProductState.CREATED, "PENDING", "Factory", {})


def product(number: int) -> bytes:
    return number.to_bytes(16, "big")


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


@pytest.fixture
def changes(clock: HandClock) -> Changes:
    return Changes(clock)


@pytest.fixture
async def cards(clock: HandClock, shelf: Shelf, changes: Changes) -> AsyncIterator[Cards]:
    cards = Cards(shelf.read, clock, Presence("cards"), changes, limits=LIMITS)
    yield cards
    await cards.close()


async def test_those_asked_for_at_once_are_read_together(cards: Cards, shelf: Shelf) -> None:
    numbers = [1, 2, 3, 1, 2]
    found = await asyncio.gather(*[cards.find(product(number)) for number in numbers])
    assert [each.card.product_id.int for each in found if each.card] == numbers
    assert [sorted(asked) for asked in shelf.asked] == [[product(1), product(2), product(3)]]


async def test_those_asked_for_meanwhile_gather_for_the_next_read(cards: Cards, shelf: Shelf) -> None:
    shelf.gate.clear()
    first = asyncio.create_task(cards.find(product(1)))
    while not shelf.asked:
        await asyncio.sleep(0)
    others = [asyncio.create_task(cards.find(product(number))) for number in (2, 3)]
    await asyncio.sleep(0)
    shelf.gate.set()
    await asyncio.gather(first, *others)
    assert [sorted(asked) for asked in shelf.asked] == [[product(1)], [product(2), product(3)]]


async def test_a_card_is_fresh_for_its_time(cards: Cards, shelf: Shelf, clock: HandClock) -> None:
    await cards.find(product(1))
    clock.seconds += 1.9
    await cards.find(product(1))
    assert len(shelf.asked) == 1
    clock.seconds += 0.1
    await cards.find(product(1))
    assert len(shelf.asked) == 2


async def test_an_unchanged_card_counts_for_longer_while_notices_are_followed(
    cards: Cards, shelf: Shelf, clock: HandClock, changes: Changes
) -> None:
    changes.begin()
    await cards.find(product(1))
    clock.seconds += 20
    changes.followed(clock.seconds)
    await cards.find(product(1))
    assert len(shelf.asked) == 1
    changes.notice(card(product(1)).batch_id.bytes)
    await cards.find(product(1))
    assert len(shelf.asked) == 2, "its batch has changed"


async def test_a_change_during_a_read_is_not_missed(
    cards: Cards, shelf: Shelf, clock: HandClock, changes: Changes
) -> None:
    changes.begin()
    changes.followed(clock.seconds)
    shelf.gate.clear()
    reading = asyncio.create_task(cards.find(product(1)))
    await asyncio.sleep(0)
    clock.seconds += 0.5
    changes.notice(product(1))
    shelf.gate.set()
    await reading
    clock.seconds += 2
    changes.followed(clock.seconds)
    await cards.find(product(1))
    assert len(shelf.asked) == 2, "what was read may be from before the change"


async def test_that_there_is_no_card_is_remembered_too(cards: Cards, shelf: Shelf, clock: HandClock) -> None:
    shelf.missing.add(product(1))
    assert await cards.find(product(1)) == await cards.find(product(1)) == Found(None, True)
    assert len(shelf.asked) == 1
    shelf.missing.clear()
    clock.seconds += 2
    assert (await cards.find(product(1))).card


async def test_the_least_recently_used_is_forgotten(cards: Cards, shelf: Shelf) -> None:
    for number in (1, 2, 3, 1, 4):
        await cards.find(product(number))
    await cards.find(product(1))
    assert len(shelf.asked) == 4
    await cards.find(product(2))
    assert len(shelf.asked) == 5


async def test_without_postgresql_cards_serve_until_they_are_stale(
    cards: Cards, shelf: Shelf, clock: HandClock
) -> None:
    await cards.find(product(1))
    shelf.missing.add(product(2))
    await cards.find(product(2))
    shelf.failure = AWAY
    clock.seconds += 10
    assert await cards.find(product(1)) == Found(card(product(1)), False)
    for unknown in (product(2), product(3)):
        with pytest.raises(CardsAwayError):
            await cards.find(unknown)
    clock.seconds += 50
    with pytest.raises(CardsAwayError):
        await cards.find(product(1))


async def test_without_postgresql_only_the_probe_asks(clock: HandClock, shelf: Shelf) -> None:
    presence = Presence("cards")
    cards = Cards(shelf.read, clock, presence, Changes(clock), limits=LIMITS)
    shelf.failure = AWAY
    for _ in range(10):
        with pytest.raises(CardsAwayError):
            await cards.find(product(1))
    assert [asked for asked in shelf.asked if asked] == [[product(1)]]
    shelf.failure = None
    async with asyncio.timeout(5):
        while not presence.is_here:
            await asyncio.sleep(0.01)
    assert (await cards.find(product(1))).fresh
    await cards.close()


async def test_a_product_in_demand_is_read_anew_before_anyone_waits(
    cards: Cards, shelf: Shelf, clock: HandClock
) -> None:
    await asyncio.gather(*[cards.find(product(number)) for number in (1, 2)])
    shelf.gate.clear()
    clock.seconds += 1.5
    for number in (1, 2, 1):
        assert (await cards.find(product(number))).fresh
    async with asyncio.timeout(5):
        while len(shelf.asked) < 2:
            await asyncio.sleep(0.01)
    assert sorted(shelf.asked[1]) == [product(1), product(2)]
    shelf.gate.set()
    await cards.find(product(3))
    clock.seconds += 1.0
    assert (await cards.find(product(1))).fresh
    assert len(shelf.asked) == 3


async def test_a_mistake_reaches_whoever_waits_and_no_one_later(cards: Cards, shelf: Shelf) -> None:
    shelf.failure = LookupError("no such column")
    results = await asyncio.gather(*[cards.find(product(n)) for n in (1, 2)], return_exceptions=True)
    assert all(isinstance(result, LookupError) for result in results)
    shelf.failure = None
    assert (await cards.find(product(1))).card


async def test_a_caller_that_goes_away_takes_nobody_along(cards: Cards, shelf: Shelf) -> None:
    shelf.gate.clear()
    staying, leaving = (asyncio.create_task(cards.find(product(1))) for _ in range(2))
    await asyncio.sleep(0)
    leaving.cancel()
    shelf.gate.set()
    assert (await staying).card
    assert leaving.cancelled() or await asyncio.wait({leaving})
