"""Jobs on a real queue: in the caller's transaction, counted at pick-up, taken over from the dead, held in the end."""

import asyncio
from typing import Any

import asyncpg
import pytest

from mesh.errors import DependencyUnavailable
from mesh.jobs import Again, Job
from tests.databases import Database
from tests.integration.mesh.queue_world import JOBS, Recorder, die, emptied, rows, working


async def test_job_is_run_once_it_is_committed_and_only_then(database: Database, pool: Any) -> None:
    recorder = Recorder()
    async with working(database, recorder):
        async with pool.acquire() as connection:
            with pytest.raises(ZeroDivisionError):
                async with connection.transaction():
                    await JOBS.enqueue(connection, "work", b"rolled back")
                    raise ZeroDivisionError
            async with connection.transaction():
                await JOBS.enqueue(connection, "work", b"kept")
                assert not recorder.jobs
        await recorder.until(lambda: bool(recorder.jobs))
        await emptied(pool)
    assert [(job.name, job.payload, job.attempt) for job in recorder.jobs] == [("work", b"kept", 1)]


async def test_job_with_the_key_of_a_waiting_one_is_not_added(pool: Any) -> None:
    for key in ("a", "a", "b", None, None):
        await JOBS.enqueue(pool, "work", b"", dedupe_key=key)
    assert len(await rows(pool)) == 4


async def test_failing_job_is_tried_again_and_then_held(database: Database, pool: Any) -> None:
    async def fail(job: Job) -> None:
        raise ValueError(f"attempt {job.attempt} failed")

    recorder = Recorder(fail, max_attempts=2)
    await JOBS.enqueue(pool, "work", b"bad")
    async with working(database, recorder):
        await recorder.until(lambda: bool(recorder.given_up))
    assert [job.attempt for job in recorder.jobs] == [1, 2]
    assert [(job.attempt, reason) for job, reason in recorder.given_up] == [(2, "attempt 2 failed")]
    assert await rows(pool) == [("failed", 2)]


async def test_waiting_for_what_is_away_counts_no_attempt(database: Database, pool: Any) -> None:
    async def away_four_times(job: Job) -> None:
        if len(recorder.jobs) <= 4:
            raise Again(0.0, "away")

    recorder = Recorder(away_four_times, max_attempts=2)
    await JOBS.enqueue(pool, "work", b"")
    async with working(database, recorder):
        await recorder.until(lambda: len(recorder.jobs) == 5)
        await emptied(pool)
    assert {job.attempt for job in recorder.jobs} == {1}
    assert not recorder.given_up


async def test_dead_workers_job_is_taken_over_and_counted(database: Database, pool: Any) -> None:
    recorder = Recorder()
    await JOBS.enqueue(pool, "work", b"orphan")
    await die(pool, 1)
    async with working(database, recorder):
        await recorder.until(lambda: bool(recorder.jobs))
        await emptied(pool)
    assert [job.attempt for job in recorder.jobs] == [2]


async def test_job_that_kills_its_workers_is_held_without_another_try(database: Database, pool: Any) -> None:
    recorder = Recorder(max_attempts=3)
    await JOBS.enqueue(pool, "work", b"deadly")
    await die(pool, 3)
    async with working(database, recorder):
        await recorder.until(lambda: bool(recorder.given_up))
    assert not recorder.jobs
    assert await rows(pool) == [("failed", 4)]


async def test_long_job_keeps_its_lease(database: Database, pool: Any) -> None:
    release = asyncio.Event()

    async def long(_: Job) -> None:
        await release.wait()

    recorder = Recorder(long)
    await JOBS.enqueue(pool, "work", b"long")
    async with working(database, recorder), working(database, recorder):
        await recorder.until(lambda: bool(recorder.jobs))
        with pytest.raises(TimeoutError):  # three leases long
            async with asyncio.timeout(3):
                await recorder.until(lambda: len(recorder.jobs) > 1)
        release.set()
        await emptied(pool)
    assert len(recorder.jobs) == 1


async def test_stopping_worker_says_so_to_its_jobs_and_waits_for_them(database: Database, pool: Any) -> None:
    ended: list[bytes] = []

    async def until_stopped(job: Job) -> None:
        await job.stopping.wait()
        ended.append(job.payload)

    recorder = Recorder(until_stopped)
    await JOBS.enqueue(pool, "work", b"under way")
    async with working(database, recorder):
        await recorder.until(lambda: bool(recorder.jobs))
    assert ended == [b"under way"]
    assert await rows(pool) == []


async def test_worker_goes_on_after_its_connections_were_cut(database: Database, pool: Any) -> None:
    recorder = Recorder()
    owner = await asyncpg.connect(database.dsn)
    try:
        async with working(database, recorder):
            await JOBS.enqueue(pool, "work", b"before")
            await recorder.until(lambda: bool(recorder.jobs))
            await emptied(pool)
            own = pool.get_size()
            cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1 AND usename = $2"
            assert len(await owner.fetch(cut, database.name, "voketag_factory")) > own
            await JOBS.enqueue(owner, "work", b"after")
            await recorder.until(lambda: len(recorder.jobs) == 2)
    finally:
        await owner.close()


async def test_job_with_the_highest_priority_goes_first(database: Database, pool: Any) -> None:
    for priority in (-3, -1, -2, -1):
        await JOBS.enqueue(pool, "work", str(priority).encode(), priority=priority)
    recorder = Recorder()
    async with working(database, recorder):
        await recorder.until(lambda: len(recorder.jobs) == 4)
    assert [int(job.payload) for job in recorder.jobs] == [-1, -1, -2, -3]
    assert {job.priority for job in recorder.jobs} == {-1, -2, -3}


@pytest.mark.parametrize("concurrency", [2, 5])
async def test_worker_runs_as_many_as_it_may_and_takes_no_more(database: Database, pool: Any, concurrency: int) -> None:
    release = asyncio.Event()

    async def long(_: Job) -> None:
        await release.wait()

    recorder, other = Recorder(long), Recorder(long)
    for _ in range(2 * concurrency):
        await JOBS.enqueue(pool, "work", b"")
    async with working(database, recorder, concurrency=concurrency):
        await recorder.until(lambda: len(recorder.jobs) == concurrency)
        picked = "SELECT count(*) FROM pgqueuer WHERE status = 'picked'"
        assert await pool.fetchval(picked) == concurrency
        async with working(database, other, concurrency=concurrency):
            await other.until(lambda: len(other.jobs) == concurrency)
            assert len(recorder.jobs) == concurrency
            release.set()
            await emptied(pool)
    assert len(recorder.jobs) == len(other.jobs) == concurrency


async def test_long_jobs_give_their_slots_to_those_that_wait_and_come_after_them(database: Database, pool: Any) -> None:
    finish = asyncio.Event()

    async def long(job: Job) -> None:
        while not finish.is_set():
            if await job.others_wait():
                raise Again(0.0, "others wait")
            await asyncio.sleep(0.01)

    recorder = Recorder(long)
    payloads = [b"a", b"b", b"c", b"d", b"e"]
    for payload in payloads:
        await JOBS.enqueue(pool, "work", payload)
    async with working(database, recorder, concurrency=2):
        await recorder.until(lambda: len(recorder.jobs) >= 10)
        finish.set()
        await emptied(pool)
    begun = [job.payload for job in recorder.jobs]
    # Everyone had a slot before anyone had the second.
    assert sorted(begun[:5]) == payloads
    assert {job.attempt for job in recorder.jobs} == {1}


async def test_long_job_keeps_its_slot_while_nobody_waits(database: Database, pool: Any) -> None:
    asked: list[bool] = []

    async def long(job: Job) -> None:
        for _ in range(80):  # 0.8 s: more than a slice
            asked.append(await job.others_wait())
            await asyncio.sleep(0.01)

    recorder = Recorder(long)
    for _ in range(2):
        await JOBS.enqueue(pool, "work", b"")
    async with working(database, recorder, concurrency=2):
        await emptied(pool)
    assert len(recorder.jobs) == 2
    assert asked
    assert not any(asked)


async def test_giving_up_waits_for_a_database_that_is_away(database: Database, pool: Any) -> None:
    refused: list[str] = []

    class Away(Recorder):
        async def _give_up(self, job: Job, reason: str) -> None:
            if len(refused) < 2:
                refused.append(reason)
                raise DependencyUnavailable(dependency="PostgreSQL")
            await super()._give_up(job, reason)

    async def fail(_: Job) -> None:
        raise ValueError("bad")

    recorder = Away(fail, max_attempts=1)
    await JOBS.enqueue(pool, "work", b"")
    async with working(database, recorder):
        await recorder.until(lambda: bool(recorder.given_up))
    assert len(refused) == 2
    assert len(recorder.jobs) == 1
    assert [status for status, _ in await rows(pool)] == ["failed"]
