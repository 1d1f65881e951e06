"""Tasks in the background, and their end."""

import asyncio
from contextlib import suppress
from typing import Any

AGAIN_SECONDS = 1.0


async def end(*tasks: "asyncio.Task[Any]") -> None:
    """Cancels tasks until they have ended; what they raise is theirs.

    Once is not enough: a cancellation that meets a breaking connection may come out as the connection's error, and a
    task that goes on after those goes on for good.
    """
    pending = set(tasks)
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=AGAIN_SECONDS)


async def pause(stop: asyncio.Event, seconds: float) -> None:
    """Waits so long, or until `stop` is set."""
    with suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), seconds)
