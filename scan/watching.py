"""Live scans, and the day's totals, for those who watch.

Scans are read from the journal by one task a process, and handed to each watcher's own queue.

The journal, and not the stream in Valkey: the stream is trimmed as soon as it is written, so that a reader beside the
writer would miss scans and not know which; and scans that were recorded while Valkey was away never were in it. The
ledger's order has no gaps and nothing comes late into it: whoever knows a place goes on from there and misses nothing.
"""

import asyncio
from collections import defaultdict, deque
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import date, datetime
from typing import Protocol
from uuid import UUID

import structlog

from mesh import tasks
from mesh.clock import Clock
from mesh.errors import DependencyUnavailable, PositionLost, ShuttingDown
from mesh.presence import Presence

log = structlog.get_logger()
FAR_BEHIND = 1_000_000
STRETCH = 10_000
TOP_COUNT = 10


@dataclass(frozen=True, slots=True)
class LiveScan:
    """A scan as its factory may see it. `position` is its place in the ledger; `verdict` and `leading`, the factor that
    adds most to the risk, as the contract numbers them. `risk` is None when it was not worked out, `country` '' when
    not known; batch and factory are None when the card could not be read.
    """

    position: int
    event_id: UUID
    product_id: UUID
    batch_id: UUID | None
    factory_id: UUID | None
    at: datetime
    country: str
    verdict: int
    risk: int | None
    leading: int | None


@dataclass(frozen=True, slots=True)
class Seen:
    """Scans in order, how many before them were dropped, and the place after which to go on."""

    scans: Sequence[LiveScan]
    missed: int
    position: int


@dataclass(frozen=True, slots=True)
class DayTotals:
    """Scans of a day (UTC) by verdict, as the contract numbers them."""

    day: date
    scans: Mapping[int, int]


@dataclass(frozen=True, slots=True)
class TopProduct:
    """A product among those that were scanned most: how often, as its callers were told, and when last."""

    product_id: UUID
    factory_id: UUID
    scans: int
    scanned_at: datetime


class Source(Protocol):
    """The journal as it is watched. Everything raises DependencyUnavailable."""

    async def watched_end(self) -> int:
        """How many places the ledger has."""
        ...

    async def scans_after(self, after: int, count: int) -> Sequence[LiveScan]:
        """The next scans after a place, at most so many."""
        ...

    async def scans_between(self, after: int, until: int, factory_id: UUID | None) -> Sequence[LiveScan]:
        """The scans of a factory, None for all, after a place up to another."""
        ...

    async def totals(self, day: date, factory_id: UUID | None) -> Mapping[int, int]:
        """Scans of a day (UTC) by verdict, of a factory or of all."""
        ...

    async def top_products(self, factory_id: UUID | None, count: int) -> Sequence[TopProduct]:
        """So many products of a factory, None for all, the most scanned first."""
        ...


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds between looks while nothing is new, and between signs of life to a watcher; scans that wait for one."""

    poll: float = 0.25
    silence: float = 30.0
    queue: int = 1_000


USUAL_PACE = Pace()


class Watcher:
    """Scans that wait for one watcher: of too many the oldest are dropped, and counted."""

    def __init__(self, capacity: int) -> None:
        self._waiting: deque[LiveScan] = deque(maxlen=capacity)
        self._missed = 0
        self._woken = asyncio.Event()

    def put(self, scan: LiveScan) -> None:
        """Adds a scan. Never waits."""
        self._missed += len(self._waiting) == self._waiting.maxlen
        self._waiting.append(scan)
        self._woken.set()

    def wake(self) -> None:
        """Says that it is time to look."""
        self._woken.set()

    async def wait(self, seconds: float) -> None:
        """Returns when something was added, and after so long in any case."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._woken.wait(), seconds)
        self._woken.clear()

    def take(self) -> tuple[list[LiveScan], int]:
        """All that waits, and how many were dropped before it."""
        taken = list(self._waiting), self._missed
        self._waiting.clear()
        self._missed = 0
        return taken


class Watching:
    """Watches for all watchers of a process. There is a reader while there are watchers, and none without."""

    def __init__(self, source: Source, clock: Clock, *, pace: Pace = USUAL_PACE) -> None:
        self._source = source
        self._clock = clock
        self._pace = pace
        self._presence = Presence("the journal that is watched")
        self._watchers: dict[UUID | None, set[Watcher]] = defaultdict(set)
        self._users = 0
        self._last = -1
        self._starting = asyncio.Lock()
        self._reader: asyncio.Task[None] | None = None
        self._closing = asyncio.Event()

    def close(self) -> None:
        """Sends every watcher away: the server drains."""
        self._closing.set()
        for watchers in self._watchers.values():
            for watcher in watchers:
                watcher.wake()

    async def today(self, factory_id: UUID | None) -> DayTotals:
        """The scans of today of a factory, None for all. Raises DependencyUnavailable."""
        day = self._clock.now().date()
        return DayTotals(day, await self._source.totals(day, factory_id))

    async def top(self, factory_id: UUID | None, count: int) -> Sequence[TopProduct]:
        """The products of a factory, None for all, that were scanned most. Raises DependencyUnavailable."""
        return await self._source.top_products(factory_id, count or TOP_COUNT)

    async def watch(self, factory_id: UUID | None, after: int | None) -> AsyncGenerator[Seen, None]:
        """The scans of a factory, None for all, after a place or from now on, without end.

        The first answer comes at once, scans or none, and one at least after each silence. Raises PositionLost,
        DependencyUnavailable, ShuttingDown.
        """
        async with self._starting:
            self._users += 1
            try:
                if self._reader is None:
                    self._last = await self._source.watched_end() - 1
                    self._reader = asyncio.create_task(self._read())
            except BaseException:
                self._users -= 1
                raise
        try:
            position = self._last if after is None else await self._known(after)
            while position < self._last and not self._closing.is_set():
                until = min(position + STRETCH, self._last)
                missed = await self._source.scans_between(position, until, factory_id)
                position = until
                if missed:
                    yield Seen(missed, 0, position)
            with self._watcher(factory_id) as watcher:  # nothing was awaited since: the queue goes on where this ends
                yield Seen((), 0, position)
                async for seen in self._live(watcher, position):
                    yield seen
        finally:
            self._users -= 1
            if not self._users and self._reader is not None:
                reader, self._reader = self._reader, None
                await tasks.end(reader)

    async def _known(self, after: int) -> int:
        """A place to go on from; another process may have been ahead of this one's reader, but not of the journal."""
        if after < self._last - FAR_BEHIND or (after > self._last and after >= await self._source.watched_end()):
            raise PositionLost(after=after)
        return after

    async def _live(self, watcher: Watcher, position: int) -> AsyncGenerator[Seen, None]:
        while not self._closing.is_set():
            await watcher.wait(self._pace.silence)
            waiting, missed = watcher.take()
            scans = [scan for scan in waiting if scan.position > position]
            position = max(position, self._last)
            if scans or not waiting:
                yield Seen(scans, missed, position)
        raise ShuttingDown

    @contextmanager
    def _watcher(self, factory_id: UUID | None) -> Iterator[Watcher]:
        watcher = Watcher(self._pace.queue)
        self._watchers[factory_id].add(watcher)
        try:
            yield watcher
        finally:
            self._watchers[factory_id].discard(watcher)
            if not self._watchers[factory_id]:
                del self._watchers[factory_id]

    async def _read(self) -> None:
        while True:
            try:
                while await self._source.watched_end() - 1 > self._last:
                    scans = await self._source.scans_after(self._last, self._pace.queue)
                    self._hand_out(scans)
                    if not scans:
                        break
                self._presence.here()
            except DependencyUnavailable as error:
                self._presence.away(error)
            except Exception:
                log.exception("scans are not watched")
            await asyncio.sleep(self._pace.poll)

    def _hand_out(self, scans: Sequence[LiveScan]) -> None:
        for scan in scans:
            self._last = scan.position
            everybody = (scan.factory_id, None) if scan.factory_id is not None else (None,)
            for audience in everybody:
                for watcher in self._watchers.get(audience, ()):
                    watcher.put(scan)
