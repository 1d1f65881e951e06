"""Turns at the work itself: batches that are built side by side go on one chunk at a time, factory by factory."""

import asyncio
from collections import OrderedDict, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID


class Rounds:
    """Turns for `room` products at once; of those who wait, one of each factory is let in before the next of any."""

    def __init__(self, room: int) -> None:
        self._room = room
        self._taken = 0
        self._waiting: OrderedDict[UUID, deque[tuple[int, asyncio.Future[None]]]] = OrderedDict()

    @asynccontextmanager
    async def turn(self, factory_id: UUID, size: int) -> AsyncIterator[None]:
        """Waits for the factory's turn and for room for so many products, at most all of it; the block has it."""
        turn = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(factory_id, deque()).append((size, turn))
        self._let_in()
        try:
            await turn
            yield
        finally:
            if not turn.cancelled():
                self._taken -= size
            self._let_in()

    def _let_in(self) -> None:
        while self._waiting:
            factory_id, turns = next(iter(self._waiting.items()))
            size, turn = turns[0]
            if not turn.done():
                if self._taken + size > self._room:
                    return
                self._taken += size
                turn.set_result(None)
            turns.popleft()
            del self._waiting[factory_id]
            if turns:
                self._waiting[factory_id] = turns
