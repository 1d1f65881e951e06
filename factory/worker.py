"""The worker: jobs and finality, until it is told to stop."""

import asyncio
import signal
from collections.abc import Sequence

import structlog

from factory.changes import Changes
from factory.finality import Finality
from mesh.jobs import Worker
from mesh.tasks import end

log = structlog.get_logger()


class FactoryWorker:
    """Runs them together. Jobs that must not wait for each other have workers of their own."""

    def __init__(self, changes: Changes, workers: Sequence[Worker], finality: Finality) -> None:
        self._changes = changes
        self._workers = workers
        self._finality = finality

    async def run(self) -> None:
        """Works until SIGTERM or SIGINT, then lets the jobs under way come to a stop."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop)
        async with self._changes.told(heard=False), asyncio.TaskGroup() as group:
            following = group.create_task(self._finality.run())
            log.info("working")
            await asyncio.gather(*(worker.run() for worker in self._workers))
            await end(following)
        log.info("stopped")

    def _stop(self) -> None:
        for worker in self._workers:
            worker.stop()
