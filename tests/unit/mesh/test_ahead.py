"""Working ahead: bounded, in order, and nothing is left running."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

import pytest

from mesh.ahead import ahead
from mesh.errors import ShuttingDown


class Source:
    """Numbers, of which it knows how many were taken and whether it was closed."""

    def __init__(self, count: int, error: Exception | None = None) -> None:
        self.made = 0
        self.closed = False
        self._count = count
        self._error = error

    async def items(self) -> AsyncGenerator[int, None]:
        try:
            for number in range(self._count):
                self.made += 1
                yield number
            if self._error:
                raise self._error
            if self._count == 0:
                await asyncio.Event().wait()
        finally:
            self.closed = True


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def test_items_come_in_order() -> None:
    assert [item async for item in ahead(Source(100).items(), 1, asyncio.Event())] == list(range(100))


async def test_work_ahead_is_bounded() -> None:
    source = Source(100)
    async with aclosing(ahead(source.items(), 2, asyncio.Event())) as items:
        assert await anext(items) == 0
        await settle()
        assert source.made == 4  # one used, two that wait, one in the making
    assert source.closed


async def test_error_comes_after_the_items_before_it() -> None:
    async with aclosing(ahead(Source(3, ValueError("broken")).items(), 1, asyncio.Event())) as items:
        assert [await anext(items) for _ in range(3)] == [0, 1, 2]
        with pytest.raises(ValueError, match="broken"):
            await anext(items)


async def test_closing_ends_a_wait_and_what_is_under_way() -> None:
    source, closing = Source(0), asyncio.Event()
    taking = asyncio.create_task(anext(ahead(source.items(), 1, closing)))
    await settle()
    assert not taking.done()
    closing.set()
    with pytest.raises(ShuttingDown):
        await taking
    assert source.closed
