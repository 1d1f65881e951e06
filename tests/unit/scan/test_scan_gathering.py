"""Which calls share a turn: a lone one waits for nobody, and among others a turn waits until it is worth its cost."""

import asyncio
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any, cast

import pytest

from scan import turns
from scan.counters import Counters
from scan.shard import GATHER_SECONDS, Sighting, Told
from scan.turns import ENOUGH, FEW, Held, Turns
from scan.verify import Scan

NEVER = 3600.0
Tell = Callable[[int, Told], None]


class Counting:
    """Counts a turn when it is told to."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self._open = asyncio.Event()

    async def count(self, sightings: Sequence[Sighting], tell: Tell) -> None:
        self.sizes.append(len(sightings))
        await self._open.wait()
        self._open.clear()
        for place, sighting in enumerate(sightings):
            tell(place, cast("bytes", sighting))

    def go_on(self) -> None:
        self._open.set()


def scan(name: bytes) -> Callable[[], Scan]:
    return lambda: cast("Scan", SimpleNamespace(sighting=name))


async def settled() -> None:
    """All that needs no time has happened."""
    for _ in range(10):
        await asyncio.sleep(0)


class Calls:
    """Turns over a count in our hands."""

    def __init__(self) -> None:
        self.counting = Counting()
        self._turns: Turns[bytes] = Turns(cast("Counters", self.counting), lambda _, told: told)
        self._asked: list[tuple[bytes, asyncio.Future[bytes | Held | None]]] = []

    async def come(self, number: int) -> None:
        for _ in range(number):
            name = len(self._asked).to_bytes(2)
            self._asked.append((name, self._turns.take(scan(name))))
        await settled()

    async def counted(self) -> list[int]:
        """Lets the turn under way end; the sizes of all that began."""
        self.counting.go_on()
        await settled()
        return self.counting.sizes

    async def answered(self) -> None:
        """Every call so far has its own answer."""
        assert [await reply for _, reply in self._asked] == [name for name, _ in self._asked]


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Turns begin by number alone, and none while another is under way."""
    monkeypatch.setattr(turns, "GATHER_SECONDS", NEVER)
    monkeypatch.setattr(turns, "PATIENCE_SECONDS", NEVER)


@pytest.mark.usefixtures("patient")
async def test_a_lone_call_waits_for_nobody() -> None:
    calls = Calls()
    for number in range(1, 4):
        await calls.come(1)
        assert calls.counting.sizes == [1] * number
        await calls.counted()
    await calls.answered()


@pytest.mark.usefixtures("patient")
async def test_those_that_came_meanwhile_are_one_turn_when_they_are_enough() -> None:
    calls = Calls()
    await calls.come(1)
    await calls.come(ENOUGH + 6)
    assert await calls.counted() == [1, ENOUGH + 6]
    await calls.come(ENOUGH)
    assert await calls.counted() == [1, ENOUGH + 6, ENOUGH]
    await calls.counted()
    await calls.answered()


@pytest.mark.usefixtures("patient")
async def test_a_turn_begins_when_the_last_of_enough_comes() -> None:
    calls = Calls()
    await calls.come(1)
    await calls.come(3)
    assert await calls.counted() == [1, 3]
    await calls.come(2)
    assert await calls.counted() == [1, 3]
    await calls.come(ENOUGH - 3)
    assert calls.counting.sizes == [1, 3]
    await calls.come(1)
    assert calls.counting.sizes == [1, 3, ENOUGH]
    await calls.counted()
    await calls.answered()


@pytest.mark.parametrize(("crowd", "moments"), [(2, 1), (FEW, 1), (FEW + 1, 2), (ENOUGH, 2)])
async def test_fewer_are_not_waited_for_long(crowd: int, moments: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "PATIENCE_SECONDS", NEVER)
    loop = asyncio.get_running_loop()
    later, delays = loop.call_later, list[float]()

    def call_later(delay: float, *told: Any, **kept: Any) -> asyncio.TimerHandle:
        delays.append(delay)
        return later(delay, *told, **kept)

    monkeypatch.setattr(loop, "call_later", call_later)
    calls = Calls()
    await calls.come(1)
    await calls.come(crowd)
    await calls.counted()
    await calls.come(1)
    delays.clear()
    await calls.counted()
    assert delays[0] == GATHER_SECONDS * moments
    async with asyncio.timeout(30):
        while len(calls.counting.sizes) < 3:
            await asyncio.sleep(GATHER_SECONDS)
    assert await calls.counted() == [1, crowd, 1]
    await calls.answered()


@pytest.mark.usefixtures("patient")
async def test_after_a_pause_a_call_is_alone_again() -> None:
    calls = Calls()
    await calls.come(1)
    await calls.come(ENOUGH)
    await calls.counted()
    await calls.counted()
    await calls.come(1)
    assert calls.counting.sizes == [1, ENOUGH, 1]
    await calls.counted()
    await calls.answered()
