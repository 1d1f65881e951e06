"""What operators ask of the submitter: to hurry a root, and to stand still."""

import pytest

from anchor.chain import ChainUnavailableError
from anchor.submission import Progress
from mesh.clock import new_id
from mesh.errors import AnchorNotFound, AnchorStateConflict, RequestIdReused
from tests.fakes.chain import raising
from tests.integration.anchor.world import World, request

AWAY = raising(ChainUnavailableError("away"))
STEPS = {"built": "fees:before", "signed": "send:before"}


async def halt(world: World, state: str) -> None:
    """The one transaction stays in this state, as after a crash."""
    world.chain.plan(STEPS[state], AWAY)
    with pytest.raises(ChainUnavailableError):
        await world.round()
    assert await world.states() == [state]


async def test_a_frozen_submitter_closes_nothing_until_it_goes_on(world: World) -> None:
    freeze = await world.store.set_freeze(request(), frozen=True, why="the key may be lost")
    assert (freeze.frozen, freeze.why) == (True, "the key may be lost")
    assert await world.store.freeze() == freeze
    submissions = await world.submit(3)
    for _ in range(3):
        await world.round()
    assert await world.states() == []
    again = await world.store.set_freeze(request(), frozen=True, why="still")
    assert again.change_time == freeze.change_time
    resumed = await world.store.set_freeze(request(), frozen=False, why="")
    assert not resumed.frozen
    assert resumed.change_time > freeze.change_time
    await world.reach("final")
    await world.assert_anchored_once(submissions)
    assert (
        await world.pool.fetchval("SELECT count(*) FROM audit WHERE result = 'OK' AND resource = 'anchoring/all'") == 3
    )


@pytest.mark.parametrize("state", STEPS)
async def test_a_freeze_holds_what_is_not_sent_and_loses_nothing(world: World, state: str) -> None:
    submissions = await world.submit(2)
    await halt(world, state)
    sent = len(world.chain.sent)
    await world.store.set_freeze(request(), frozen=True, why="a look at the node")
    for _ in range(3):
        await world.round()
    assert await world.states() == [state]
    assert len(world.chain.sent) == sent
    await world.store.set_freeze(request(), frozen=False, why="")
    await world.reach("final")
    await world.assert_anchored_once(submissions)


async def test_what_is_sent_is_followed_to_its_end_while_frozen(bent: World) -> None:
    await bent.ground.rpc("evm_setAutomine", False)
    submissions = await bent.submit()
    await bent.round()
    await bent.store.set_freeze(request(), frozen=True, why="x")
    bent.configure(resend_after_seconds=0)
    await bent.round()
    assert len(await bent.journal.attempts(1)) == 1
    await bent.ground.mine()
    await bent.reach("final")
    await bent.assert_anchored_once(submissions)


async def test_a_freeze_asked_for_twice_is_one_change(world: World) -> None:
    key = request()
    first = await world.store.set_freeze(key, frozen=True, why="x")
    await world.store.set_freeze(request(), frozen=False, why="")
    late = await world.store.set_freeze(key, frozen=True, why="x")  # the answer was lost, and somebody resumed since
    assert not late.frozen
    assert late.change_time > first.change_time
    with pytest.raises(RequestIdReused):
        await world.store.set_freeze(request(key.request_id, b"other"), frozen=True, why="y")


async def test_a_retried_pending_root_closes_its_window(world: World) -> None:
    world.configure(window_seconds=1000)
    [submission] = await world.submit()
    await world.round()
    assert await world.states() == []
    anchor = await world.store.retry(submission.subject_id, request())
    assert anchor.progress is Progress.PENDING
    await world.reach("final")
    await world.assert_anchored_once([submission])


async def test_a_retried_transaction_is_sent_again_and_its_attempts_stay_known(bent: World) -> None:
    await bent.ground.rpc("evm_setAutomine", False)
    [submission] = await bent.submit()
    await bent.round()
    await bent.ground.rpc("anvil_dropAllTransactions")
    await bent.round()
    assert len(bent.chain.sent) == 1  # not overdue
    key = request()
    assert (await bent.store.retry(submission.subject_id, key)).progress is Progress.SUBMITTED
    await bent.round()
    await bent.round()
    assert bent.chain.sent == [bent.chain.sent[0]] * 2
    await bent.store.retry(submission.subject_id, key)  # the same request
    await bent.round()
    assert len(bent.chain.sent) == 2
    assert len(await bent.journal.attempts(1)) == 1
    await bent.ground.mine()
    await bent.reach("final")
    await bent.assert_anchored_once([submission])
    with pytest.raises(AnchorStateConflict):
        await bent.store.retry(submission.subject_id, request())


@pytest.mark.parametrize("state", STEPS)
async def test_a_retry_before_the_first_sending_changes_nothing(world: World, state: str) -> None:
    [submission] = await world.submit()
    await halt(world, state)
    await world.store.retry(submission.subject_id, request())
    await world.reach("final")
    await world.assert_anchored_once([submission])


async def test_nothing_to_retry(world: World) -> None:
    [submission] = await world.submit()
    with pytest.raises(AnchorNotFound):
        await world.store.retry(new_id(), request())
    key = request()
    await world.store.retry(submission.subject_id, key)
    with pytest.raises(RequestIdReused):
        await world.store.retry(submission.subject_id, request(key.request_id, b"other"))
    await world.reach("final")
    with pytest.raises(AnchorStateConflict):
        await world.store.retry(submission.subject_id, request())
    resource = f"anchor/{submission.subject_id}"
    assert await world.pool.fetchval("SELECT count(*) FROM audit WHERE result = 'OK' AND resource = $1", resource) == 2
