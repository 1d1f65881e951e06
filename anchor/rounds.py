"""Rounds of one target's process: again and again while it has the target's lease, slower while something is away."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

import structlog

from anchor.lease import Lease
from anchor.metrics import Metrics
from anchor.target import TargetUnavailableError
from anchor.target_journal import LeaseLostError
from mesh.database import GONE

log = structlog.get_logger()
MOST_SECONDS = 15.0
"""Longest pause between tries while the target is away."""

Round = Callable[[int], Awaitable[bool]]
"""One look at everything under a fence; False when something did not go well, so that the next one can wait."""


class Rounds:
    """Takes rounds every `poll_seconds`, in one process at a time."""

    def __init__(self, round_: Round, metrics: Metrics, poll_seconds: float) -> None:
        self._round = round_
        self._metrics = metrics
        self._poll = poll_seconds

    async def run(self, lease: Lease, stop: asyncio.Event) -> None:
        """Works whenever the lease is free, until `stop`. Raises what a round raises but TargetUnavailableError."""

        async def work(fence: int) -> None:
            self._metrics.leading.set(1)
            log.info("leading", fence=fence)
            await self._work(fence, stop)

        while not stop.is_set():
            try:
                await lease.holding(work)
            except LeaseLostError as error:
                log.warning("the lease is lost", error=str(error))
            except GONE as error:
                log.warning("PostgreSQL is away", error=repr(error))
            finally:
                self._metrics.leading.set(0)
            await pause(stop, lease.seconds / 3)

    async def _work(self, fence: int, stop: asyncio.Event) -> None:
        delay = self._poll
        while not stop.is_set():
            try:
                smooth = await self._round(fence)
            except TargetUnavailableError as error:
                log.warning("the target is away", error=str(error), retry_seconds=delay)
                self._metrics.faults.labels(error.kind).inc()
                smooth = False
            delay = self._poll if smooth else min(delay * 2, max(self._poll, MOST_SECONDS))
            await pause(stop, delay)


async def pause(stop: asyncio.Event, seconds: float) -> None:
    """Waits, but not longer than until `stop`."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await stop.wait()
