"""The standing jobs of the schema. Every run may be broken off anywhere, and may run beside another."""

from datetime import timedelta

import structlog

from admin.files import Pruning
from admin.store import Store
from mesh.clock import Clock
from mesh.errors import DependencyUnavailable
from mesh.jobs import Again, Handler, Job, Jobs
from mesh.schedule import DAY, HOUR, MINUTE, Schedule

log = structlog.get_logger()
LOG_KEPT = timedelta(days=7)
LOG_AT_ONCE = 5_000
AWAY_SECONDS = 5.0


class Maintenance:
    """Removes what was kept long enough."""

    def __init__(self, store: Store, jobs: Jobs, clock: Clock) -> None:
        self._store = store
        self._jobs = jobs
        self._clock = clock
        self._pruning = Pruning(store, clock)

    def handlers(self) -> dict[str, Handler]:
        """By name of the job."""
        return {
            "files.prune": Handler(self.prune, self.give_up, schedule=Schedule(15 * MINUTE)),
            "jobs.forget": Handler(self.forget_log, self.give_up, schedule=Schedule(DAY, at=3 * HOUR)),
        }

    async def prune(self, _: Job) -> None:
        """Removes files whose time is over. Raises Again when PostgreSQL is away."""
        try:
            log.info("old files removed", count=await self._pruning.run())
        except DependencyUnavailable as away:
            raise Again(AWAY_SECONDS, str(away)) from away

    async def forget_log(self, _: Job) -> None:
        """Removes old lines about jobs. Raises Again when PostgreSQL is away."""
        before, count = self._clock.now() - LOG_KEPT, LOG_AT_ONCE
        try:
            while count == LOG_AT_ONCE:
                async with self._store.connection() as connection:
                    count = await self._jobs.forget_log(connection, before, LOG_AT_ONCE)
        except DependencyUnavailable as away:
            raise Again(AWAY_SECONDS, str(away)) from away

    async def give_up(self, job: Job, reason: str) -> None:
        """A worker that starts begins it anew."""
        log.error("standing job given up", job=job.name, reason=reason)
