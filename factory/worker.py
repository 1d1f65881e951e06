"""The worker: jobs, finality, and the months of products made ahead, until it is told to stop."""

import asyncio
import signal

import structlog

from factory.changes import Changes
from factory.finality import Finality
from factory.store import Store
from factory.tenants import EVERY
from mesh.errors import DependencyUnavailable
from mesh.jobs import Worker
from mesh.tasks import end

log = structlog.get_logger()
MONTHS_AHEAD = 3
HOUR = 3600.0


class FactoryWorker:
    """Runs the three together."""

    def __init__(self, store: Store, changes: Changes, jobs: Worker, finality: Finality) -> None:
        self._store = store
        self._changes = changes
        self._jobs = jobs
        self._finality = finality

    async def run(self) -> None:
        """Works until SIGTERM or SIGINT, then lets the jobs under way come to a stop."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._jobs.stop)
        async with self._changes.told(heard=False), asyncio.TaskGroup() as group:
            beside = [group.create_task(self._finality.run()), group.create_task(self._make_months())]
            log.info("working")
            await self._jobs.run()
            await end(*beside)
        log.info("stopped")

    async def _make_months(self) -> None:
        while True:
            try:
                async with self._store.connection(EVERY) as connection:
                    await self._store.sql.ensure_partitions(connection, months_ahead=MONTHS_AHEAD)
            except DependencyUnavailable as away:
                log.warning("months of products are not made ahead", reason=str(away))
            await asyncio.sleep(HOUR)
