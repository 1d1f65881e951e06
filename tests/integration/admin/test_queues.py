"""Queues and their jobs by people: admin asks factory, whose queue a real worker works on."""

import asyncio
import json
from typing import Any
from uuid import uuid4

import grpc
import pytest
from voketag.mesh.v1 import access_pb2, queue_pb2

from mesh.jobs import Again, Job
from mesh.schedule import DAY, Schedule
from tests.integration.admin.desk import (
    CANCEL,
    CANCELLED,
    HELD,
    HOLD,
    QUEUE,
    RELEASE,
    RETRY,
    RUNNING,
    WAITING,
    Desk,
    desk,
)
from tests.integration.factory.world import eventually, metadata_of, reason_of
from tests.integration.mesh.queue_world import JOBS, Recorder, die, emptied, rows, working

__all__ = ["desk"]


async def poison(job: Job) -> None:
    raise ValueError(f"job 0x{job.attempt:04x} of {uuid4()} is poison")


async def test_a_poison_job_is_held_inspected_retried_and_its_history_goes_on(desk: Desk) -> None:
    works = asyncio.Event()

    async def poison_until(job: Job) -> None:
        if not works.is_set():
            await poison(job)

    recorder = Recorder(poison_until, max_attempts=2)
    await JOBS.enqueue(desk.pool, "work", b"bad")
    async with working(desk.database, recorder):
        held = await desk.until(HELD)
        assert [(step.number, step.HasField("end_time"), step.action) for step in held.history] == [
            (1, True, 0),
            (2, True, 0),
        ]
        assert all("is poison" in step.error for step in held.history)
        assert (held.payload, held.attempts, held.queue) == (b"bad", 2, QUEUE)

        async def told() -> queue_pb2.Queue | None:
            queue = await desk.queue()
            return queue if queue.failed_count == 2 else None

        queue = await eventually(told)
        assert queue is not None
        assert (queue.held_count, queue.waiting_count, queue.failed_rate) == (1, 0, 1.0)
        assert [(error.text, error.count) for error in queue.top_errors] == [("job # of # is poison", 2)]

        request_id = str(uuid4())
        retried = (await desk.call("ChangeJob", request_id=request_id, job_id=held.job_id, action=RETRY)).job
        assert retried.job_id == held.job_id
        again = await desk.until(HELD)
        assert [(step.number, step.action) for step in again.history] == [
            (1, 0),
            (2, 0),
            (2, RETRY),
            (3, 0),
            (4, 0),
        ]
        assert again.history[2].actor == f"user:{desk.admin.user_id}"
        await desk.call("ChangeJob", request_id=request_id, job_id=held.job_id, action=RETRY)
        assert (await desk.only_job()).state == HELD, "the same request does nothing again"
        works.set()
        await desk.call("ChangeJob", job_id=held.job_id, action=RETRY)
        await emptied(desk.pool)
    gone = await desk.refused("GetJob", job_id=held.job_id)
    assert reason_of(gone) == "JOB_NOT_FOUND"
    async with desk.ground.owner() as owner:
        said = await owner.fetch("SELECT * FROM audit WHERE result = 'OK' AND resource = $1", f"job/{held.job_id}")
        theirs = await owner.fetch(
            "SELECT * FROM factory.audit WHERE result = 'OK' AND resource = $1", f"job/{held.job_id}"
        )
    assert [(row["actor_id"], json.loads(row["detail"])["action"]) for row in said] == [
        (desk.admin.user_id, "RETRY"),
        (desk.admin.user_id, "RETRY"),
    ]
    states = {"before": "HELD", "after": "WAITING"}
    detail = {"queue": QUEUE, "action": "RETRY", "by": f"user:{desk.admin.user_id}", "state": states}
    assert [json.loads(row["detail"]) for row in theirs] == [detail] * 2


async def test_an_attempt_that_killed_its_worker_is_in_the_history(desk: Desk) -> None:
    began = '[{"number": 1, "began": "2026-01-01T00:00:00+00:00"}]'
    await JOBS.enqueue(desk.pool, "work", b"deadly")
    await desk.pool.execute("UPDATE pgqueuer SET history = $1", began)
    await die(desk.pool, 8)
    async with working(desk.database, Recorder()):
        job = await desk.until(HELD)
    assert [(step.number, step.HasField("end_time")) for step in job.history] == [(1, False), (2, True)]
    assert "its workers died" in job.history[1].error


async def test_waiting_counts_as_no_attempt_in_the_history_either(desk: Desk) -> None:
    async def away_then_poison(job: Job) -> None:
        if len(recorder.jobs) <= 3:
            raise Again(0.0, "away")
        await poison(job)

    recorder = Recorder(away_then_poison, max_attempts=1)
    await JOBS.enqueue(desk.pool, "work", b"")
    async with working(desk.database, recorder):
        job = await desk.until(HELD)
    assert [step.number for step in job.history] == [1]


async def test_a_running_job_is_cancelled_and_what_it_was_for_is_told(desk: Desk) -> None:
    ended = asyncio.Event()

    async def forever(_: Job) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    recorder = Recorder(forever)
    await JOBS.enqueue(desk.pool, "work", b"endless")
    async with working(desk.database, recorder):
        job = await desk.until(RUNNING)
        asked = (await desk.call("ChangeJob", job_id=job.job_id, action=CANCEL)).job
        assert asked.cancelled_by == f"user:{desk.admin.user_id}"
        await asyncio.wait_for(ended.wait(), 10)
        cancelled = await desk.until(CANCELLED)
        assert [(mine.payload, reason) for mine, reason in recorder.given_up] == [
            (b"endless", "cancelled by an operator")
        ]
        assert cancelled.history[-1].error == "cancelled"
        for action in (CANCEL, HOLD, RELEASE):
            error = await desk.refused("ChangeJob", job_id=job.job_id, action=action)
            assert (reason_of(error), metadata_of(error)) == ("JOB_STATE_CONFLICT", {"state": "cancelled"})


async def test_a_waiting_job_is_cancelled_without_being_run(desk: Desk) -> None:
    recorder = Recorder()
    await JOBS.enqueue(desk.pool, "work", b"unwanted")
    job = await desk.only_job()
    await desk.call("ChangeJob", job_id=job.job_id, action=CANCEL)
    assert (await desk.only_job()).state == WAITING, "a worker carries it out"
    async with working(desk.database, recorder):
        await desk.until(CANCELLED)
        assert not recorder.jobs
        assert len(recorder.given_up) == 1
        await desk.call("ChangeJob", job_id=job.job_id, action=RETRY)
        await emptied(desk.pool)
    assert [mine.payload for mine in recorder.jobs] == [b"unwanted"]


async def test_a_job_on_hold_waits_until_it_is_released(desk: Desk) -> None:
    recorder = Recorder()
    await JOBS.enqueue(desk.pool, "work", b"one")
    one = await desk.only_job()
    await desk.call("ChangeJob", job_id=one.job_id, action=HOLD)
    async with working(desk.database, recorder):
        await JOBS.enqueue(desk.pool, "work", b"two")
        await recorder.until(lambda: bool(recorder.jobs))
        await desk.call("ChangeJob", job_id=one.job_id, action=RELEASE)
        await emptied(desk.pool)
    assert [mine.payload for mine in recorder.jobs] == [b"two", b"one"]


async def test_a_job_whose_key_another_has_by_now_cannot_come_back(desk: Desk) -> None:
    await JOBS.enqueue(desk.pool, "work", b"first", dedupe_key="k")
    first = await desk.only_job()
    await desk.call("ChangeJob", job_id=first.job_id, action=HOLD)
    await JOBS.enqueue(desk.pool, "work", b"second", dedupe_key="k")
    for action in (RETRY, RELEASE, CANCEL):
        error = await desk.refused("ChangeJob", job_id=first.job_id, action=action)
        assert (reason_of(error), metadata_of(error)) == ("JOB_STATE_CONFLICT", {"state": "replaced"})
    assert await rows(desk.pool) == [("failed", 0), ("queued", 0)]


async def test_standing_jobs_run_now_but_are_neither_cancelled_nor_held(desk: Desk) -> None:
    recorder = Recorder()
    async with working(desk.database, recorder, schedule=Schedule(DAY)):
        job = await eventually_only(desk)
        for action in (CANCEL, HOLD):
            error = await desk.refused("ChangeJob", job_id=job.job_id, action=action)
            assert (reason_of(error), metadata_of(error)) == ("JOB_STATE_CONFLICT", {"state": "standing"})
        await desk.call("ChangeJob", job_id=job.job_id, action=RETRY)
        await recorder.until(lambda: len(recorder.jobs) == 1)
        later = await desk.until(WAITING)
    assert later.job_id == job.job_id


async def eventually_only(desk: Desk) -> queue_pb2.Job:
    async def probe() -> bool:
        return bool((await desk.call("ListJobs")).jobs)

    await eventually(probe)
    return await desk.only_job()


async def test_a_paused_queue_gives_no_job_under_load_and_after_a_restart(desk: Desk) -> None:
    gate = asyncio.Event()

    async def wait(_: Job) -> None:
        await gate.wait()

    recorder = Recorder(wait)
    for _ in range(50):
        await JOBS.enqueue(desk.pool, "work", b"")
    async with working(desk.database, recorder, concurrency=4), working(desk.database, recorder, concurrency=4):
        await recorder.until(lambda: len(recorder.jobs) == 8)
        paused = (await desk.call("PauseQueue")).queue
        assert (paused.paused_by, paused.waiting_count) == (f"user:{desk.admin.user_id}", 42)
        gate.set()

        async def idle() -> bool:
            return (await desk.queue()).running_count == 0

        await eventually(idle)
        assert len(recorder.jobs) == 8
    async with working(desk.database, recorder):
        await JOBS.enqueue(desk.pool, "work", b"late")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await recorder.until(lambda: len(recorder.jobs) > 8)
        assert (await desk.queue()).waiting_count == 43
        request_id = str(uuid4())
        resumed = (await desk.call("ResumeQueue", request_id=request_id)).queue
        assert (resumed.HasField("pause_time"), resumed.paused_by) == (False, "")
        await asyncio.wait_for(emptied(desk.pool), 10)
        await desk.call("ResumeQueue", request_id=request_id)
    assert len(recorder.jobs) == 51


async def test_a_dead_worker_s_job_of_a_paused_queue_waits_too(desk: Desk) -> None:
    recorder = Recorder()
    await desk.call("PauseQueue")
    await JOBS.enqueue(desk.pool, "work", b"orphan")
    await die(desk.pool, 1)
    async with working(desk.database, recorder):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1.5):
                await recorder.until(lambda: bool(recorder.jobs))
        await desk.call("ResumeQueue")
        await recorder.until(lambda: bool(recorder.jobs))
        await emptied(desk.pool)


async def test_two_admins_at_once_make_one_change(desk: Desk) -> None:
    other = await desk.door.admin()
    await JOBS.enqueue(desk.pool, "work", b"")
    job = await desk.only_job()
    calls = [desk.call("ChangeJob", person, job_id=job.job_id, action=HOLD) for person in (desk.admin, other)]
    results = await asyncio.gather(*calls, return_exceptions=True)
    (failed,) = [result for result in results if isinstance(result, grpc.aio.AioRpcError)]
    assert (reason_of(failed), metadata_of(failed)) == ("JOB_STATE_CONFLICT", {"state": "held"})
    assert len((await desk.only_job()).history) == 1


WRONG: dict[str, tuple[str, dict[str, Any], str]] = {
    "no such queue": ("ListJobs", {"queue": "factory.nothing"}, "QUEUE_NOT_FOUND"),
    "no such service": ("ListJobs", {"queue": "nobody.work"}, "QUEUE_NOT_FOUND"),
    "a queue without a service": ("PauseQueue", {"queue": "work"}, "QUEUE_NOT_FOUND"),
    "a queue of nothing to pause": ("PauseQueue", {"queue": "factory.nothing"}, "QUEUE_NOT_FOUND"),
    "a queue with a quote": ("ListJobs", {"queue": "factory.'; DROP TABLE pgqueuer; --"}, "QUEUE_NOT_FOUND"),
    "a huge queue": ("ListJobs", {"queue": "factory." + "x" * 100}, "VALIDATION_FAILED"),
    "no queue": ("ListJobs", {"queue": ""}, "VALIDATION_FAILED"),
    "an unknown state": ("ListJobs", {"state": 99}, "VALIDATION_FAILED"),
    "a page too large": ("ListJobs", {"page_size": 1001}, "VALIDATION_FAILED"),
    "a token that is none": ("ListJobs", {"page_token": "x"}, "PAGE_TOKEN_INVALID"),
    "no such job": ("GetJob", {"job_id": str(uuid4())}, "JOB_NOT_FOUND"),
    "a job that is none": ("GetJob", {"job_id": "7"}, "VALIDATION_FAILED"),
    "no action": ("ChangeJob", {"job_id": str(uuid4())}, "VALIDATION_FAILED"),
    "an unknown action": ("ChangeJob", {"job_id": str(uuid4()), "action": 9}, "VALIDATION_FAILED"),
    "nothing to retry": ("ChangeJob", {"job_id": str(uuid4()), "action": RETRY}, "JOB_NOT_FOUND"),
    "no request id": ("ChangeJob", {"job_id": str(uuid4()), "action": RETRY, "request_id": ""}, "VALIDATION_FAILED"),
}


async def test_wrong_input_is_named_and_changes_nothing(desk: Desk) -> None:
    await JOBS.enqueue(desk.pool, "work", b"")
    for name, (method, fields, reason) in WRONG.items():
        assert reason_of(await desk.refused(method, **fields)) == reason, name
    job = await desk.only_job()
    other = await desk.refused("GetJob", queue="factory.batch.build", job_id=job.job_id)
    assert reason_of(other) == "JOB_NOT_FOUND", "of another queue"
    assert not job.history
    request_id = str(uuid4())
    await desk.call("PauseQueue", request_id=request_id)
    reused = await desk.refused("ChangeJob", request_id=request_id, job_id=job.job_id, action=HOLD)
    assert reason_of(reused) == "REQUEST_ID_REUSED"
    assert (await desk.only_job()).state == WAITING


async def test_pages_are_bound_to_caller_and_filter(desk: Desk) -> None:
    for _ in range(3):
        await JOBS.enqueue(desk.pool, "work", b"")
    other = await desk.door.admin()
    page = await desk.call("ListJobs", page_size=2)
    rest = await desk.call("ListJobs", page_size=2, page_token=page.next_page_token)
    ids = [job.job_id for job in (*page.jobs, *rest.jobs)]
    assert (ids, rest.next_page_token) == (sorted(ids, reverse=True), "")
    token = {"page_size": 2, "page_token": page.next_page_token}
    for stolen in (desk.refused("ListJobs", other, **token), desk.refused("ListJobs", state=WAITING, **token)):
        assert reason_of(await stolen) == "PAGE_TOKEN_INVALID"
    assert len((await desk.call("ListJobs", state=WAITING)).jobs) == 3
    assert not (await desk.call("ListJobs", state=HELD)).jobs


async def test_auditors_look_and_others_do_not_even_that(desk: Desk) -> None:
    await JOBS.enqueue(desk.pool, "work", b"")
    job = await desk.only_job()
    reads: list[tuple[str, dict[str, Any]]] = [("ListQueues", {}), ("ListJobs", {}), ("GetJob", {"job_id": job.job_id})]
    changes: list[tuple[str, dict[str, Any]]] = [
        ("PauseQueue", {}),
        ("ResumeQueue", {}),
        ("ChangeJob", {"job_id": job.job_id, "action": CANCEL}),
    ]
    auditor, support = [
        await desk.door.add(desk.admin, role) for role in (access_pb2.ROLE_AUDITOR, access_pb2.ROLE_SUPPORT)
    ]
    for method, fields in reads:
        await desk.call(method, auditor, **fields)
        assert reason_of(await desk.refused(method, support, **fields)) == "ACCESS_DENIED"
    for method, fields in changes:
        for person in (auditor, support):
            assert reason_of(await desk.refused(method, person, **fields)) == "ACCESS_DENIED"


async def test_admin_s_own_queue_is_one_of_them(desk: Desk) -> None:
    async with desk.ground.owner() as owner:
        await owner.execute("INSERT INTO job_queues (name) VALUES ('own')")
        request_id = str(uuid4())
        paused = (await desk.call("PauseQueue", queue="admin.own", request_id=request_id)).queue
        assert paused.paused_by == f"user:{desk.admin.user_id}"
        assert (await desk.call("PauseQueue", queue="admin.own", request_id=request_id)).queue == paused
        names = [queue.name for queue in (await desk.call("ListQueues")).queues]
        assert (names[:1], QUEUE in names) == (["admin.own"], True)
        said = await owner.fetch("SELECT * FROM audit WHERE result = 'OK' AND resource = 'queue/admin.own'")
    assert [(row["method"].rpartition("/")[2], row["actor_id"]) for row in said] == [("PauseQueue", desk.admin.user_id)]


async def test_services_that_are_away_are_named(desk: Desk) -> None:
    async with desk.ground.server() as door:  # whose factory service is nowhere
        alone = Desk(await door.admin(), door, desk.pool, desk.database, desk.ground)
        answer = await alone.call("ListQueues")
        assert ([q.name for q in answer.queues if q.name == QUEUE], list(answer.unreachable)) == ([], ["factory"])
        assert reason_of(await alone.refused("ListJobs")) == "DEPENDENCY_UNAVAILABLE"
