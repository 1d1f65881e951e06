"""Turns at the work itself: batches that are built side by side go on one chunk at a time, factory by factory."""

import asyncio
from collections import OrderedDict, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID


class Rounds:
    """At most `width` have a turn at once; of those who wait, one of each factory is let in before the next of any."""

    def __init__(self, width: int) -> None:
        self._free = width
        self._waiting: OrderedDict[UUID, deque[asyncio.Future[None]]] = OrderedDict()

    @asynccontextmanager
    async def turn(self, factory_id: UUID) -> AsyncIterator[None]:
        """Waits for the factory's turn, and holds it in the block."""
        if self._free:
            self._free -= 1
        else:
            await self._wait(factory_id)
        try:
            yield
        finally:
            self._pass_on()

    async def _wait(self, factory_id: UUID) -> None:
        turn = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(factory_id, deque()).append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():  # let in and cancelled in the same moment
                self._pass_on()
            raise

    def _pass_on(self) -> None:
        while self._waiting:
            factory_id, turns = self._waiting.popitem(last=False)
            turn = turns.popleft()
            if turns:
                self._waiting[factory_id] = turns
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1
