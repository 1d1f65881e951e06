"""Roots that come together share a commit, and nothing else: each caller gets an answer of its own."""

import asyncio
import itertools
from pathlib import Path

import pytest

from anchor.intake import Intake
from anchor.store import Store
from anchor.submission import Anchor
from mesh.clock import new_id
from mesh.database import connect
from mesh.errors import AnchorConflict, DependencyUnavailable, RequestIdReused
from tests.integration.anchor.processes import schema_on
from tests.integration.anchor.world import World, batch, request
from tests.servers import PASSWORD, PostgresAddress, start_postgres


async def count(world: World, table: str) -> int:
    found: int = await world.pool.fetchval(f"SELECT count(*) FROM {table}")
    return found


@pytest.fixture
def intake(world: World) -> Intake:
    return Intake(world.store)


async def test_calls_of_one_turn_share_one_commit(world: World, intake: Intake) -> None:
    submissions = [batch() for _ in range(200)]
    anchors = await asyncio.gather(*[intake.submit(each, request(), urgent=False) for each in submissions])
    assert [anchor.submission for anchor in anchors] == submissions
    assert len({anchor.create_time for anchor in anchors}) == 1  # now() is the transaction's
    assert [await count(world, table) for table in ("submissions", "audit", "idempotency")] == [200] * 3
    assert await world.find(submissions[7]) == anchors[7]


async def blocked(world: World, count: int) -> None:
    """Returns once so many commits wait for a lock that the test holds."""
    query = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'submissions'::regclass"
    while await world.pool.fetchval(query) < count:
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("commits", [1, 2])
async def test_what_comes_while_all_commits_are_under_way_shares_the_next(world: World, commits: int) -> None:
    intake = Intake(world.store, commits=commits, many=1)
    lock = await world.pool.acquire()
    early: list[asyncio.Task[Anchor]] = []
    async with asyncio.TaskGroup() as group:
        async with lock.transaction():
            await lock.execute("LOCK TABLE submissions IN SHARE MODE")
            for under_way in range(1, commits + 1):
                early.append(group.create_task(intake.submit(batch(), request(), urgent=False)))
                await blocked(world, under_way)
            rest = [group.create_task(intake.submit(batch(), request(), urgent=False)) for _ in range(50)]
            await asyncio.sleep(0)
    await world.pool.release(lock)
    times = {each.result().create_time for each in rest}
    assert len(times) == 1
    assert not times & {each.result().create_time for each in early}


async def test_a_second_commit_begins_when_many_wait(world: World) -> None:
    intake = Intake(world.store, commits=2, many=5)
    lock = await world.pool.acquire()
    async with asyncio.TaskGroup() as group:
        async with lock.transaction():
            await lock.execute("LOCK TABLE submissions IN SHARE MODE")
            first = group.create_task(intake.submit(batch(), request(), urgent=False))
            await blocked(world, 1)
            few = [group.create_task(intake.submit(batch(), request(), urgent=False)) for _ in range(4)]
            await asyncio.sleep(0)  # each is handed in now, and a commit for them would have begun
            few.append(group.create_task(intake.submit(batch(), request(), urgent=False)))
            await blocked(world, 2)
            late = [group.create_task(intake.submit(batch(), request(), urgent=False)) for _ in range(4)]
            await asyncio.sleep(0)
    await world.pool.release(lock)
    times = [{each.result().create_time for each in group} for group in ([first], few, late)]
    assert [len(each) for each in times] == [1, 1, 1]
    assert len(set.union(*times)) == 3
    assert await count(world, "submissions") == 10


async def test_the_mistakes_of_some_do_not_fail_the_others(world: World, intake: Intake) -> None:
    known, used = batch(), request()
    await world.hand_in(known, used)
    twice = request()
    good = [batch() for _ in range(5)]
    calls = [
        intake.submit(good[0], request(), urgent=False),
        intake.submit(batch(subject_id=known.subject_id), request(), urgent=False),
        intake.submit(good[1], request(), urgent=False),
        intake.submit(batch(), request(used.request_id, b"other"), urgent=False),
        intake.submit(good[2], request(), urgent=False),
        intake.submit(good[3], twice, urgent=False),
        intake.submit(batch(), request(twice.request_id, b"other"), urgent=False),
        intake.submit(known, used, urgent=False),
        intake.submit(good[4], request(), urgent=False),
        intake.submit(good[4], request(), urgent=False),
    ]
    answers = await asyncio.gather(*calls, return_exceptions=True)
    kinds = [type(answer) for answer in answers]
    assert kinds == [
        *(Anchor, AnchorConflict, Anchor, RequestIdReused, Anchor),
        *(Anchor, RequestIdReused, Anchor, Anchor, Anchor),
    ]
    assert isinstance(answers[8], Anchor)
    assert isinstance(answers[9], Anchor)
    assert answers[8].submission_id == answers[9].submission_id
    for submission in [*good, known]:
        assert (await world.find(submission)).submission == submission
    assert [await count(world, table) for table in ("submissions", "audit", "idempotency")] == [6, 6, 7]


async def test_processes_that_take_the_same_at_once_agree(world: World) -> None:
    intakes = [Intake(world.store) for _ in range(4)]
    submissions = [batch() for _ in range(60)]
    keys = [request() for _ in submissions]
    calls = [
        intake.submit(submission, key, urgent=False)
        for turn, intake in enumerate(intakes)
        for submission, key in list(zip(submissions, keys, strict=True))[:: -1 if turn % 2 else 1]
    ]
    anchors = await asyncio.gather(*calls)
    assert len({anchor.submission_id for anchor in anchors}) == 60
    assert [await count(world, table) for table in ("submissions", "audit", "idempotency")] == [60] * 3


async def test_a_caller_that_leaves_leaves_its_root(world: World, intake: Intake) -> None:
    submissions = [batch(), batch()]
    leaving = asyncio.ensure_future(intake.submit(submissions[0], request(), urgent=False))
    staying = asyncio.ensure_future(intake.submit(submissions[1], request(), urgent=False))
    await asyncio.sleep(0)
    leaving.cancel()
    await staying
    await intake.close()
    assert leaving.cancelled()
    assert (await world.find(submissions[0])).submission == submissions[0]


async def test_too_many_waiting_are_refused_at_once(world: World) -> None:
    intake = Intake(world.store, waiting=3)
    calls = [intake.submit(batch(), request(), urgent=False) for _ in range(5)]
    answers = await asyncio.gather(*calls, return_exceptions=True)
    assert [isinstance(answer, DependencyUnavailable) for answer in answers] == [False] * 3 + [True] * 2
    assert await count(world, "submissions") == 3


async def test_without_postgresql_every_caller_hears_so_and_may_come_again(tmp_path: Path) -> None:
    postgres = await start_postgres(tmp_path, durable=True)
    try:
        server = PostgresAddress("127.0.0.1", postgres.port, "voketag", PASSWORD, postgres.dsn())
        async with await connect(await schema_on(server), schema="anchor") as pool:
            intake = Intake(Store(pool, new_id))
            offers = [(batch(), request()) for _ in range(20)]
            await intake.submit(*offers[0], urgent=False)
            await postgres.kill()
            answers = await asyncio.gather(
                *itertools.starmap(lambda one, key: intake.submit(one, key, urgent=False), offers),
                return_exceptions=True,
            )
            assert {type(answer) for answer in answers} == {DependencyUnavailable}
            await postgres.start()
            again = await asyncio.gather(*[intake.submit(*offer, urgent=False) for offer in offers])
            assert len({anchor.submission_id for anchor in again}) == 20
            assert await pool.fetchval("SELECT count(*) FROM submissions") == 20
    finally:
        await postgres.kill()


async def test_an_urgent_root_closes_its_window(world: World) -> None:
    world.configure(window_seconds=1000)
    intake = Intake(world.store)
    submissions = await world.submit(3)
    await world.round()
    assert await world.states() == []
    submissions.append(batch())
    await intake.submit(submissions[-1], request(), urgent=True)
    await world.reach("final")
    await world.assert_anchored_once(submissions)


async def test_a_waiting_root_can_be_hurried(world: World) -> None:
    world.configure(window_seconds=1000)
    intake = Intake(world.store)
    [submission] = await world.submit()
    again = await intake.submit(submission, request(), urgent=True)
    assert again.submission_id == (await world.find(submission)).submission_id
    assert await count(world, "audit") == 2
    await world.reach("final")
    await world.assert_anchored_once([submission])
    # What is final cannot be hurried, and nothing is changed.
    await intake.submit(submission, request(), urgent=True)
    assert await count(world, "audit") == 2
