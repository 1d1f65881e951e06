"""A worker in this process, whose one kind of job is recorded; and what is left in the queue."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from random import Random
from typing import Any

from mesh.clock import SystemClock
from mesh.jobs import Handler, Job, Jobs, Worker
from mesh.schedule import Schedule
from tests.databases import Database

JOBS = Jobs("factory")


class Recorder:
    """A handler that keeps what it was given, and does what the test says."""

    def __init__(self, then: Callable[[Job], Awaitable[None]] | None = None, max_attempts: int = 8) -> None:
        self.jobs: list[Job] = []
        self.given_up: list[tuple[Job, str]] = []
        self._then = then
        self._happened = asyncio.Event()
        self.handler = Handler(self._run, self._give_up, max_attempts)

    async def _run(self, job: Job) -> None:
        self.jobs.append(job)
        self._happened.set()
        if self._then:
            await self._then(job)

    async def _give_up(self, job: Job, reason: str) -> None:
        self.given_up.append((job, reason))
        self._happened.set()

    async def until(self, happened: Callable[[], bool]) -> None:
        async with asyncio.timeout(15):
            while not happened():
                self._happened.clear()
                await self._happened.wait()


@asynccontextmanager
async def working(
    database: Database, recorder: Recorder, *, concurrency: int = 20, schedule: Schedule | None = None
) -> AsyncIterator[Worker]:
    worker = Worker(
        database.settings("factory"),
        schema="factory",
        handlers={"work": replace(recorder.handler, schedule=schedule)},
        random=Random(1),
        clock=SystemClock(),
        concurrency=concurrency,
        lease_seconds=1.0,
    )
    running = asyncio.create_task(worker.run())
    try:
        yield worker
    finally:
        worker.stop()
        await asyncio.wait_for(running, 15)


async def rows(pool: Any) -> list[tuple[str, int]]:
    return [tuple(row) for row in await pool.fetch("SELECT status::text, attempts FROM pgqueuer ORDER BY id")]


async def emptied(pool: Any) -> None:
    async with asyncio.timeout(10):
        while await pool.fetchval("SELECT count(*) FROM pgqueuer"):
            await asyncio.sleep(0.05)


async def die(pool: Any, attempts: int) -> None:
    """As a worker leaves a job that it picked up and died of."""
    await pool.execute(
        "UPDATE pgqueuer SET status = 'picked', attempts = $1, heartbeat = now() - interval '1 minute', "
        "queue_manager_id = gen_random_uuid()",
        attempts,
    )
