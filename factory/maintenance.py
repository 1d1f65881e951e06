"""What is done by the clock: months made ahead, statistics, what is old removed, what is stuck brought back.

Every run may be broken off anywhere, and may run beside another: what it does twice changes nothing.
"""

from collections.abc import Awaitable, Callable
from datetime import timedelta

import structlog

from factory.backlog import SUBMIT, order_build
from factory.store import Store
from factory.tenants import EVERY
from mesh import idempotency
from mesh.clock import Clock
from mesh.errors import DependencyUnavailable
from mesh.jobs import Again, Handler, Job, Jobs
from mesh.schedule import DAY, HOUR, MINUTE, Schedule

log = structlog.get_logger()
MONTHS_AHEAD = 3
KEPT = timedelta(hours=48)
"""Answers to repeated requests, of which the contract promises 24 hours, and the log of finished jobs."""
LOG_KEPT = timedelta(days=30)
"""Events of webhooks, with their deliveries."""
UNBUILT_AFTER, UNANCHORED_AFTER = timedelta(minutes=1), timedelta(minutes=15)
PAGE = 1000
DELETED_AT_ONCE = 5000
AWAY_SECONDS = 5.0


class Maintenance:
    """The standing jobs of the schema."""

    def __init__(self, store: Store, jobs: Jobs, clock: Clock) -> None:
        self._store = store
        self._jobs = jobs
        self._clock = clock

    def handlers(self) -> dict[str, Handler]:
        """By name of the job."""
        return {
            "maintenance.months": self._handler(self.make_months, Schedule(DAY, at=2 * HOUR)),
            "maintenance.cleanup": self._handler(self.clean_up, Schedule(DAY, at=3 * HOUR)),
            "maintenance.statistics": self._handler(self.refresh_statistics, Schedule(30 * MINUTE)),
            "maintenance.unbuilt": self._handler(self.order_unbuilt, Schedule(MINUTE)),
            "maintenance.unanchored": self._handler(self.submit_unanchored, Schedule(15 * MINUTE)),
        }

    def _handler(self, run: Callable[[Job], Awaitable[None]], schedule: Schedule) -> Handler:
        async def wait_for_postgresql(job: Job) -> None:
            try:
                await run(job)
            except DependencyUnavailable as away:
                raise Again(AWAY_SECONDS, str(away)) from away

        return Handler(wait_for_postgresql, self._give_up, schedule=schedule)

    async def _give_up(self, job: Job, reason: str) -> None:
        log.error("standing job given up; a worker that starts begins it anew", job=job.name, reason=reason)

    async def make_months(self, _: Job) -> None:
        """Makes the partitions of the next months."""
        async with self._store.connection(EVERY) as connection:
            made = await self._store.sql.ensure_partitions(connection, months_ahead=MONTHS_AHEAD)
        log.info("months made ahead", count=made)

    async def refresh_statistics(self, _: Job) -> None:
        """Lets the planner know what has grown."""
        async with self._store.connection(EVERY) as connection:
            await self._store.refresh_statistics(connection)

    async def clean_up(self, job: Job) -> None:
        """Removes what was kept long enough, some rows at a time. Raises Again when the worker stops."""
        kept = {idempotency.forget: KEPT, self._jobs.forget_log: KEPT, self._store.forget_events: LOG_KEPT}
        now = self._clock.now()
        for forget, age in kept.items():
            before, total = now - age, 0
            while True:
                if job.stopping.is_set():
                    raise Again(0, "the worker stops")
                async with self._store.connection(EVERY) as connection:
                    count = await forget(connection, before, DELETED_AT_ONCE)
                total += count
                if count < DELETED_AT_ONCE:
                    break
            log.info("old rows removed", of=forget.__name__, count=total)

    async def order_unbuilt(self, _: Job) -> None:
        """Puts batches back in line whose job is gone, or on hold while they were not FAILED."""
        async with self._store.transaction(EVERY) as connection:
            batches = await self._store.unbuilt(connection, older_than=UNBUILT_AFTER, limit=PAGE)
            for batch in batches:
                await order_build(self._store, self._jobs, connection, batch, dedupe_key=f"build:{batch.batch_id}")
        if batches:
            log.warning("batches had no job", count=len(batches))

    async def submit_unanchored(self, _: Job) -> None:
        """Hands in roots again that should be final by now; the anchor service answers as it did the first time."""
        async with self._store.transaction(EVERY) as connection:
            batches = await self._store.unanchored(connection, older_than=UNANCHORED_AFTER, limit=PAGE)
            for batch in batches:
                key = f"submit:{batch.batch_id}"
                await self._jobs.enqueue(connection, SUBMIT, batch.key, dedupe_key=key)
        if batches:
            log.warning("roots are long on their way", count=len(batches))
