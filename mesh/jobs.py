"""Jobs on PostgreSQL (PgQueuer), one queue a schema: enqueued in the caller's transaction, run by any worker anywhere.

A job is run at least once, so handlers must be repeatable. An attempt is counted when the job is picked up: a job that
kills its workers ends on hold and not in a loop. Jobs that fail for good stay in the table with the status 'failed'.
Of the jobs that are due the highest priority goes first, and then who has waited longest: a job that comes back goes
behind its like. Long jobs share the slots of the workers by asking `Job.others_wait` now and then.

A standing job is one row that comes back by its schedule. So it runs once however many workers there are, is taken over
from a dead one as any job is, and runs once when it is late, however often it was missed.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from random import Random
from typing import Any

import asyncpg
import structlog
from asyncpg.pool import PoolConnectionProxy
from pgqueuer.adapters.drivers.asyncpg import AsyncpgDriver, AsyncpgPoolDriver
from pgqueuer.adapters.persistence import qb
from pgqueuer.core.executors import AbstractEntrypointExecutor, EntrypointExecutorParameters
from pgqueuer.core.qm import QueueManager
from pgqueuer.domain.errors import PgqException, RetryRequested
from pgqueuer.domain.models import Context
from pgqueuer.domain.models import Job as PickedJob
from pgqueuer.domain.settings import DBSettings, Durability
from pgqueuer.domain.types import Channel, QueueEntrypoint
from prometheus_client import Counter

from mesh import database, tasks
from mesh.claims import CANCELLED_BY, INSTALL, JobQueries, Statements
from mesh.clock import Clock
from mesh.config import DatabaseSettings
from mesh.database import affected
from mesh.depth import Depth
from mesh.error import VokeTagError
from mesh.errors import DependencyUnavailable
from mesh.running import Cancelled, Running
from mesh.schedule import Schedule
from mesh.tallies import Tallies
from mesh.tasks import end

log = structlog.get_logger()
OUTCOMES = Counter("voketag_jobs", "Runs of jobs: done, again, failed, held or cancelled.", ["job", "outcome"])

Connection = asyncpg.Connection | PoolConnectionProxy
CONCURRENCY = 20
GATHER_SECONDS = 0.02
CLAIM = 10
"""Jobs that a worker picks up at once at most, so that one does not take what others could begin."""
SLICE_SECONDS = 0.5
PROBE_EVERY = timedelta(seconds=10)
STANDING_PRIORITY = 1
"""Standing jobs are few and short, and among them is the one that brings back what was lost."""
FORGET = """
DELETE FROM {table}
WHERE ctid = ANY(ARRAY(SELECT ctid FROM {table} WHERE created < $1 ORDER BY created LIMIT $2))
"""
NAMES = "INSERT INTO {schema}.job_queues (name) SELECT unnest($1::text[]) ON CONFLICT DO NOTHING"
GRANTS = """
GRANT SELECT, INSERT, UPDATE, DELETE ON {tables} TO {role};
GRANT USAGE ON ALL SEQUENCES IN SCHEMA {schema} TO {role}
"""


class Again(Exception):
    """What the job needs is away: run it again after `delay` seconds, and count no attempt."""

    def __init__(self, delay: float, reason: str) -> None:
        self.delay = delay
        super().__init__(reason)


@dataclass(frozen=True, slots=True)
class Job:
    """A job picked up for the `attempt`-th time; long ones look at `stopping` and raise Again when it is set.

    They raise Again(0, ...) as well when `others_wait`: there are jobs that are due, and the worker takes none, as it
    begins anew, or has no free slot while this one had its slice.
    """

    name: str
    payload: bytes
    attempt: int
    priority: int
    stopping: asyncio.Event
    others_wait: Callable[[], Awaitable[bool]]


@dataclass(frozen=True, slots=True)
class Handler:
    """What runs a job, how often it is tried, and what is done when it is given up, before it goes on hold.

    With a schedule it is a standing job: it comes back however it ended, and is given up only when it kills workers.
    """

    run: Callable[[Job], Awaitable[None]]
    give_up: Callable[[Job, str], Awaitable[None]]
    max_attempts: int = 8
    schedule: Schedule | None = None


class Jobs:
    """The queue in a schema."""

    def __init__(self, schema: str) -> None:
        # Jobs are truth; the lines about them are not, and there are three a job.
        self._settings = DBSettings(db_schema=schema, channel=Channel(f"jobs_{schema}"), durability=Durability.balanced)

    async def install(self, connection: "asyncpg.Connection[Any]", *, role: str) -> None:
        """Makes or upgrades the queue's tables, as their owner, for the service's role to use."""
        queries = self.queries(AsyncpgDriver(connection))
        if await queries.schema_is_installed():
            await queries.alter_durability()
            await queries.upgrade()
        else:
            await queries.install()
        await queries.optimize_autovacuum()
        names = self._settings.qualified
        tables = ", ".join((names.queue_table, names.queue_table_log, names.statistics_table, names.schedules_table))
        schema = self._settings.db_schema
        await connection.execute(GRANTS.format(tables=tables, schema=schema, role=role))
        await connection.execute(INSTALL.format(table=names.queue_table, schema=schema, role=role))

    async def enqueue(
        self,
        connection: Connection,
        name: str,
        payload: bytes,
        *,
        priority: int = 0,
        dedupe_key: str | None = None,
        delay: float = 0.0,
    ) -> None:
        """Adds a job in the transaction under way on the connection; not twice while one of its `dedupe_key` waits."""
        queries = self.queries(AsyncpgDriver(connection))  # type: ignore[arg-type]
        after = timedelta(seconds=delay)
        await queries.enqueue([name], [payload], [priority], [after], [dedupe_key], on_conflict="skip")

    async def enqueue_all(self, connection: Connection, name: str, payloads: Sequence[bytes]) -> None:
        """Adds jobs of one kind in the transaction under way on the connection, in one statement."""
        queries = self.queries(AsyncpgDriver(connection))  # type: ignore[arg-type]
        if payloads:
            await queries.enqueue([name] * len(payloads), list(payloads), [0] * len(payloads))

    async def forget_log(self, connection: Connection, before: datetime, limit: int) -> int:
        """Removes so many of the lines written about jobs before then, the oldest first: how many it removed."""
        table = self._settings.qualified.queue_table_log
        return affected(await connection.execute(FORGET.format(table=table), before, limit))

    def queries(self, driver: AsyncpgDriver | AsyncpgPoolDriver) -> JobQueries:
        """PgQueuer's operations on this queue."""
        settings = self._settings
        queries = JobQueries(
            driver,
            qbe=qb.QueryBuilderEnvironment(settings),
            qbq=Statements(settings),
            qbs=qb.QuerySchedulerBuilder(settings),
        )
        queries.errors = {}
        return queries

    @property
    def table(self) -> str:
        """The queue, schema and name."""
        return self._settings.qualified.queue_table

    @property
    def channel(self) -> Channel:
        """Where the queue's changes are notified."""
        return self._settings.channel


class _Executor(AbstractEntrypointExecutor):
    """Runs one kind of job: backs off exponentially with jitter, and gives up after the last attempt."""

    def __init__(self, name: str, handler: Handler, worker: "Worker") -> None:
        super().__init__(EntrypointExecutorParameters(0, _unused, on_failure="hold"))
        self._name = name
        self._handler = handler
        self._worker = worker

    async def execute(self, job: PickedJob, context: Context) -> None:
        """Raises RetryRequested; any other error puts the job on hold."""
        with self._worker.slot() as others_wait:
            payload = job.payload or b""
            mine = Job(self._name, payload, job.attempts, job.priority, self._worker.stopping, others_wait)
            try:
                if CANCELLED_BY in (job.headers or {}):
                    raise Cancelled
                await self._execute(job, mine)
            except Cancelled:
                await self._give_up(job, mine, "cancelled", "cancelled by an operator")
                context.cancellation.cancel()  # by which PgQueuer writes the job down as cancelled

    async def _execute(self, job: PickedJob, mine: Job) -> None:
        if job.attempts > self._handler.max_attempts:
            await self._hold(job, mine, "its workers died")
        try:
            await self._worker.running.run(job.id, self._handler.run(mine))
            self._count("done")
        except Again as again:
            self._count("again")
            job.attempts -= 1
            raise RetryRequested(timedelta(seconds=again.delay), str(again)) from again
        except Cancelled:
            raise
        except Exception as error:
            reason = str(error) or type(error).__name__
            self._count("failed", reason)
            log.warning("job failed", job=self._name, attempt=job.attempts, exc_info=error)
            if self._handler.schedule is None and job.attempts >= self._handler.max_attempts:
                await self._hold(job, mine, reason)
            self._worker.failed(job, reason)
            if self._handler.schedule is None:
                raise RetryRequested(self._worker.backoff(job.attempts), str(error)) from error
        if self._handler.schedule is not None:
            job.attempts = 0
            raise RetryRequested(self._worker.until(self._handler.schedule), "standing")

    async def _hold(self, job: PickedJob, mine: Job, reason: str) -> None:
        await self._give_up(job, mine, "held", reason)
        raise PgqException(f"given up after {mine.attempt} attempts: {reason}")

    async def _give_up(self, job: PickedJob, mine: Job, outcome: str, reason: str) -> None:
        """Raises RetryRequested while that cannot be written down: the attempts stay used up."""
        try:
            await self._handler.give_up(mine, reason)
        except DependencyUnavailable as away:
            self._worker.failed(job, str(away))
            raise RetryRequested(self._worker.backoff(1), str(away)) from away
        self._count(outcome, reason)

    def _count(self, outcome: str, error: str = "") -> None:
        OUTCOMES.labels(self._name, outcome).inc()
        self._worker.tallies.count(self._name, outcome, error)


async def _unused(_: PickedJob) -> None:
    """PgQueuer wants a function where our executor calls the handler itself."""


class _Manager(QueueManager):
    """PgQueuer's loop, whose first probe of its listener does not come before the listener.

    Before it looks for jobs it waits `gather_seconds` for more of them: every change of the queue wakes every loop on
    it, and a look costs as much as a short job.
    """

    gather_seconds = GATHER_SECONDS

    async def fetch_jobs(self, *limits: Any, **named: Any) -> AsyncGenerator[PickedJob, None]:
        """See QueueManager."""
        await tasks.pause(self.shutdown, self.gather_seconds)
        async with aclosing(super().fetch_jobs(*limits, **named)) as jobs:
            async for job in jobs:
                yield job

    async def _run_periodic_health_check(self, interval: timedelta = PROBE_EVERY) -> None:
        await tasks.pause(self.shutdown, interval.total_seconds())
        await super()._run_periodic_health_check(interval)


class Worker:
    """Runs the jobs of a schema until stopped, through any absence of PostgreSQL.

    It runs at most `concurrency` jobs at once, at least 2. Jobs of a worker that died are picked up again after
    `lease_seconds` and at most half as long again. A job waits `gather_seconds` for others to be picked up with it.
    """

    def __init__(
        self,
        settings: DatabaseSettings,
        *,
        schema: str,
        handlers: Mapping[str, Handler],
        random: Random,
        clock: Clock,
        concurrency: int = CONCURRENCY,
        lease_seconds: float = 10.0,
        gather_seconds: float = GATHER_SECONDS,
    ) -> None:
        self.stopping = asyncio.Event()
        self._settings = settings.model_copy(update={"database_pool_min": 2, "database_pool_max": 4})
        self._schema = schema
        self._jobs = Jobs(schema)
        self._handlers = handlers
        self._random = random
        self._clock = clock
        self._concurrency = concurrency
        self._taken = 0
        self._lease = timedelta(seconds=lease_seconds)
        self._gather = gather_seconds
        self.tallies = Tallies(schema, self._jobs.table, clock)
        self.running = Running(self._jobs.table)
        self._queries: JobQueries | None = None
        self._manager: QueueManager | None = None

    async def run(self) -> None:
        """Works until `stop`, then lets the jobs under way finish."""
        while not self.stopping.is_set():
            try:
                await self._work()
            except (VokeTagError, PgqException, asyncpg.PostgresError, *database.GONE) as error:
                log.warning("jobs wait: PostgreSQL is away", schema=self._schema, error=str(error))
                await tasks.pause(self.stopping, 0.5)

    def stop(self) -> None:
        """Takes no more jobs; those under way see it in `Job.stopping`."""
        self.stopping.set()

    def backoff(self, attempt: int) -> timedelta:
        """0.5 s doubled with every attempt, up to 5 min, of which a random half is taken off."""
        return timedelta(seconds=min(0.5 * 2**attempt, 300) * self._random.uniform(0.5, 1))

    @contextmanager
    def slot(self) -> Iterator[Callable[[], Awaitable[bool]]]:
        """One of the worker's slots, and what tells whether it is to be given back."""
        loop = asyncio.get_running_loop()
        since = loop.time()

        async def others_wait() -> bool:
            if not self._closed and (self._taken < self._concurrency or loop.time() - since < SLICE_SECONDS):
                return False
            assert self._queries is not None
            return await self._queries.eligible_queued_work([QueueEntrypoint(name) for name in self._handlers]) > 0

        self._taken += 1
        try:
            yield others_wait
        finally:
            self._taken -= 1

    def failed(self, job: PickedJob, error: str) -> None:
        """Says what an attempt failed by that another will follow; the history has it with the retry."""
        assert self._queries is not None
        self._queries.errors[job.id] = error

    @property
    def _closed(self) -> bool:
        """Whether it takes no more jobs, until those it has are over."""
        return self._manager is not None and self._manager.shutdown.is_set()

    def until(self, schedule: Schedule) -> timedelta:
        """How long until it is due next."""
        return timedelta(seconds=schedule.after(self._clock.now()))

    async def _work(self) -> None:
        # A pool of its own, cut off at the end: PgQueuer's listener may hold a dead connection of it.
        pool = await database.connect(self._settings, schema=self._schema)
        try:
            self._queries = self._jobs.queries(AsyncpgPoolDriver(pool))
            self._manager = manager = _Manager(self._queries, channel=self._jobs.channel)
            manager.gather_seconds = self._gather
            for name, handler in self._handlers.items():
                manager.register_executor(name, _Executor(name, handler, self))
            await self._stand(pool)
            following = [
                asyncio.create_task(self._pass_on(manager)),
                asyncio.create_task(Depth(self._jobs.table, self._handlers).follow(pool)),
                asyncio.create_task(self.tallies.follow(pool)),
                asyncio.create_task(self.running.follow(pool)),
            ]
            try:
                await manager.run(
                    dequeue_timeout=self._lease / 2,
                    batch_size=min(CLAIM, self._concurrency // 2),
                    max_concurrent_tasks=self._concurrency,
                    shutdown_on_listener_failure=True,
                    heartbeat_timeout=self._lease,
                    log_aggregation_interval=timedelta(0),  # Prometheus counts
                )
            finally:
                await end(*following)
        finally:
            pool.terminate()

    async def _stand(self, pool: "asyncpg.Pool[Any]") -> None:
        await pool.execute(NAMES.format(schema=self._schema), list(self._handlers))
        for name, handler in self._handlers.items():
            if handler.schedule is not None:
                delay = self.until(handler.schedule).total_seconds()
                async with pool.acquire() as connection:
                    await self._jobs.enqueue(
                        connection, name, b"", priority=STANDING_PRIORITY, dedupe_key=name, delay=delay
                    )

    async def _pass_on(self, manager: QueueManager) -> None:
        await self.stopping.wait()
        manager.shutdown.set()
