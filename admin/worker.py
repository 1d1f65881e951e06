"""The worker: what is made in the background, until it is told to stop."""

import asyncio
import signal
from collections.abc import Sequence

import structlog

from mesh.jobs import Worker

log = structlog.get_logger()


class AdminWorker:
    """Runs workers together. Jobs that must not wait for each other have workers of their own."""

    def __init__(self, workers: Sequence[Worker]) -> None:
        self._workers = workers

    async def run(self) -> None:
        """Works until SIGTERM or SIGINT, then lets the jobs under way come to a stop."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop)
        log.info("working")
        await asyncio.gather(*(worker.run() for worker in self._workers))
        log.info("stopped")

    def _stop(self) -> None:
        for worker in self._workers:
            worker.stop()
