"""Working ahead of who takes the results, until there are no more or the server drains."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TypeVar

from mesh.errors import ShuttingDown

T = TypeVar("T")


async def ahead(items: AsyncGenerator[T, None], depth: int, closing: asyncio.Event) -> AsyncGenerator[T, None]:
    """The same items, made while the one before is being used: at most `depth` wait, and one more is in the making.

    An error of `items` comes in its place, after the items before it. Raises ShuttingDown once `closing` is set.
    """
    ready: asyncio.Queue[T | Exception | None] = asyncio.Queue(depth)

    async def make() -> None:
        try:
            async with aclosing(items):
                async for item in items:
                    await ready.put(item)
        except Exception as error:  # noqa: BLE001 - raised again for who takes the items
            await ready.put(error)
        else:
            await ready.put(None)

    making = asyncio.create_task(make())

    async def close() -> None:
        await closing.wait()
        making.cancel()
        await ready.put(ShuttingDown())

    tasks = {making, asyncio.create_task(close())}
    try:
        while (item := await ready.get()) is not None:
            if isinstance(item, Exception):
                raise item
            yield item
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
