"""Scans by the turn: those that come while others are counted are judged together, one right after the other.

Between two calls gRPC runs through so much code that each finds the processor's caches empty; judged together, calls
cost a quarter less of it. What must wait for more than the counters leaves the turn and goes on by itself.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

from scan.counters import Counters
from scan.shard import GATHER_SECONDS, MOST_AT_ONCE, Told
from scan.verify import Scan

ENOUGH, FEW = 14, 8
"""A turn of so many calls begins at once, and after one of more than a few it is worth while to wait twice as long."""
PATIENCE_SECONDS = 0.01
"""So long a turn is waited for: beside one that waits longer, for a shard that is slow or away, the next one begins."""

Reply = TypeVar("Reply")


class Held(NamedTuple):
    """A scan that was told to wait, or was not counted."""

    scan: Scan
    told: Told


class _Call(NamedTuple):
    begin: Callable[[], Scan | None]
    reply: "asyncio.Future[Any]"


class Turns(Generic[Reply]):
    """Takes the scans of calls; `tell` makes the reply to one that was counted."""

    def __init__(self, counters: Counters, tell: Callable[[Scan, bytes], Reply]) -> None:
        self._counters = counters
        self._tell = tell
        self._gathered: deque[_Call] = deque()
        self._last = 0
        self._enough: asyncio.Future[None] | None = None
        self._awaited: asyncio.Task[None] | None = None
        self._under_way: set[asyncio.Task[None]] = set()

    def take(self, begin: Callable[[], Scan | None]) -> "asyncio.Future[Reply | Held | None]":
        """The reply to the scan that `begin` gives within its turn, or how it is held; None when it gives none.

        What `begin` or `tell` raise comes through the future.
        """
        reply: asyncio.Future[Reply | Held | None] = asyncio.get_running_loop().create_future()
        self._gathered.append(_Call(begin, reply))
        if self._awaited is None:
            self._start()
        elif self._enough is not None and len(self._gathered) >= ENOUGH:
            _let_go(self._enough)
        return reply

    def _start(self) -> None:
        self._awaited = turn = asyncio.create_task(self._turn())
        self._under_way.add(turn)
        turn.add_done_callback(self._ended)

    def _ended(self, turn: asyncio.Task[None]) -> None:
        self._under_way.discard(turn)
        self._go_on(turn)

    def _go_on(self, after: asyncio.Task[Any] | None) -> None:
        """Starts the turn after this one, once."""
        if self._awaited is not after:
            return
        self._awaited = None
        if self._gathered:
            self._start()
        else:
            self._last = 0

    async def _turn(self) -> None:
        await self._gather()
        calls = [self._gathered.popleft() for _ in range(min(len(self._gathered), MOST_AT_ONCE))]
        self._last = len(calls)
        patience = asyncio.get_running_loop().call_later(PATIENCE_SECONDS, self._go_on, asyncio.current_task())
        try:
            await self._count(calls)
        finally:
            patience.cancel()

    async def _gather(self) -> None:
        """Among others a call waits a moment for more of them, who share what a turn costs by itself."""
        if self._last <= 1:
            await asyncio.sleep(0)
        elif len(self._gathered) < ENOUGH:
            loop = asyncio.get_running_loop()
            self._enough = enough = loop.create_future()
            late = loop.call_later(GATHER_SECONDS * (1 if self._last <= FEW else 2), _let_go, enough)
            try:
                await enough
            finally:
                self._enough = None
                late.cancel()

    async def _count(self, calls: Sequence[_Call]) -> None:
        begun = [(scan, reply) for begin, reply in calls if (scan := _begun(begin, reply)) is not None]

        def tell(place: int, told: Told) -> None:
            self._reply(*begun[place], told)

        try:
            await self._counters.count([scan.sighting for scan, _ in begun], tell)
        except Exception as error:  # noqa: BLE001 - whoever waits gets it
            _fail([reply for _, reply in begun], error)
        finally:
            for _, reply in begun:
                reply.cancel()  # nobody waits in vain, whatever ended the turn

    def _reply(self, scan: Scan, reply: "asyncio.Future[Any]", told: Told) -> None:
        if reply.done():
            return
        try:
            reply.set_result(self._tell(scan, told) if isinstance(told, bytes) else Held(scan, told))
        except Exception as error:  # noqa: BLE001 - whoever waits gets it
            reply.set_exception(error)


def _let_go(waiting: "asyncio.Future[None]") -> None:
    if not waiting.done():
        waiting.set_result(None)


def _begun(begin: Callable[[], Scan | None], reply: "asyncio.Future[Any]") -> Scan | None:
    """None: the call has its reply, or is not waited for any more and makes no scan."""
    if reply.done():
        return None
    try:
        scan = begin()
    except Exception as error:  # noqa: BLE001 - whoever waits gets it
        reply.set_exception(error)
        return None
    if scan is None:
        reply.set_result(None)
    return scan


def _fail(replies: "Sequence[asyncio.Future[Any]]", error: Exception) -> None:
    for reply in replies:
        if not reply.done():
            reply.set_exception(error)
