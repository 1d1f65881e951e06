"""Jobs that come back by the clock, each made due by hand; and what Prometheus is told of a queue."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from prometheus_client import REGISTRY

from mesh.depth import Depth
from mesh.jobs import Job
from mesh.schedule import DAY, HOUR, MINUTE, Schedule
from tests.databases import Database
from tests.integration.mesh.queue_world import JOBS, Recorder, die, working

SELDOM = Schedule(DAY, at=DAY / 2 + HOUR)
LATER = "SELECT count(*) FROM pgqueuer WHERE status = 'queued' AND attempts = 0 AND execute_after > now()"


async def comes_back(pool: Any) -> None:
    async with asyncio.timeout(10):
        while await pool.fetchval(LATER) != 1:
            await asyncio.sleep(0.05)


async def test_standing_job_is_run_once_by_many_workers_however_often_it_was_missed(
    database: Database, pool: Any
) -> None:
    recorder = Recorder()
    async with (
        working(database, recorder, schedule=SELDOM),
        working(database, recorder, schedule=SELDOM),
        working(database, recorder, schedule=SELDOM),
    ):
        await comes_back(pool)
        assert not recorder.jobs
        await pool.execute("UPDATE pgqueuer SET execute_after = now() - interval '3 days'")
        await recorder.until(lambda: bool(recorder.jobs))
        await comes_back(pool)
    assert len(recorder.jobs) == 1
    due = await pool.fetchval("SELECT execute_after AT TIME ZONE 'UTC' FROM pgqueuer")
    assert abs((due - due.replace(hour=13, minute=0, second=0, microsecond=0)).total_seconds()) < MINUTE


async def test_standing_job_that_fails_comes_back_and_is_never_held(database: Database, pool: Any) -> None:
    async def fail(_: Job) -> None:
        raise ValueError("as ever")

    recorder = Recorder(fail, max_attempts=1)
    async with working(database, recorder, schedule=SELDOM):
        for times in (1, 2, 3):
            await comes_back(pool)
            await pool.execute("UPDATE pgqueuer SET execute_after = now()")
            await recorder.until(lambda times=times: len(recorder.jobs) == times)  # type: ignore[misc]
        await comes_back(pool)
    assert not recorder.given_up


async def test_standing_job_of_a_dead_worker_is_taken_over(database: Database, pool: Any) -> None:
    recorder = Recorder()
    async with working(database, recorder, schedule=SELDOM):
        await comes_back(pool)
    await die(pool, 1)
    await pool.execute("UPDATE pgqueuer SET execute_after = now() - interval '1 minute'")
    async with working(database, recorder, schedule=SELDOM):
        await recorder.until(lambda: bool(recorder.jobs))
        await comes_back(pool)
    assert [job.attempt for job in recorder.jobs] == [2]


@pytest.mark.parametrize(
    ("schedule", "hour", "minute", "seconds"),
    [
        (Schedule(MINUTE), 12, 0, 60),
        (Schedule(30 * MINUTE), 12, 29, 60),
        (Schedule(DAY, at=3 * HOUR), 2, 0, HOUR),
        (Schedule(DAY, at=3 * HOUR), 3, 0, DAY),
        (Schedule(DAY, at=3 * HOUR), 4, 0, 23 * HOUR),
    ],
)
async def test_schedule_goes_by_the_wall_clock(schedule: Schedule, hour: int, minute: int, seconds: float) -> None:
    assert schedule.after(datetime(2026, 3, 4, hour, minute, tzinfo=UTC)) == seconds


async def test_depth_tells_what_is_due_running_held_and_since_when(pool: Any) -> None:
    for delay in (0.0, 0.0, 0.0, 3600.0):
        await JOBS.enqueue(pool, "work", b"", delay=delay)
    await JOBS.enqueue(pool, "other", b"")
    await pool.execute("UPDATE pgqueuer SET execute_after = $1 WHERE id = 1", datetime.now(UTC) - timedelta(minutes=5))
    for number, status in ((2, "picked"), (3, "failed")):
        await pool.execute("UPDATE pgqueuer SET status = $2 WHERE id = $1", number, status)
    depth = Depth(JOBS.table, ["work", "idle"])
    await depth.show(pool)

    def value(gauge: str, job: str) -> float | None:
        return REGISTRY.get_sample_value(f"voketag_jobs_{gauge}", {"job": job})

    assert [value(gauge, "work") for gauge in ("waiting", "running", "held")] == [1, 1, 1]
    assert 300 <= (value("oldest_seconds", "work") or 0) < 360
    assert [value(gauge, "idle") for gauge in ("waiting", "running", "held", "oldest_seconds")] == [0, 0, 0, 0]
    await pool.execute("DELETE FROM pgqueuer")
    await depth.show(pool)
    assert [value(gauge, "work") for gauge in ("waiting", "running", "held", "oldest_seconds")] == [0, 0, 0, 0]
