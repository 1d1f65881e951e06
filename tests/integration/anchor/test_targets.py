"""A tree at several chains: each has its own submitter, and the policy says when the tree is final."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest
from voketag.anchor.v1 import anchor_pb2 as pb
from voketag.anchor.v1 import anchor_pb2_grpc

from anchor.chain import ChainUnavailableError
from anchor.submission import Progress, Submission
from anchor.target import Policy
from anchor.window import WindowPolicy, Windows
from tests.fakes.chain import raising
from tests.integration.anchor.doors import Door
from tests.integration.anchor.world import Ground, World
from tests.servers import AnvilAddress

NAMES = ("chain", "polygon", "gnosis")


@pytest.fixture
async def worlds(pool: "asyncpg.Pool[Any]", anvil: AnvilAddress) -> AsyncIterator[list[World]]:
    """Three targets, each with a contract and a key of its own, on a chain that mines each transaction at once."""
    grounds = [await Ground.lay(anvil.url, anvil.chain_id) for _ in NAMES]
    yield [World(pool, ground, name) for ground, name in zip(grounds, NAMES, strict=True)]
    for ground in grounds:
        await ground.web3.provider.disconnect()


def under(policy: str, worlds: list[World], **changes: Any) -> None:
    for world in worlds:
        world.configure(targets=Policy.parse(policy), **changes)


async def registrations(worlds: list[World], world: World, submission: Submission) -> list[int]:
    """How often each target's contract has the root that a submission is under."""
    proof = await world.proofs.of(await world.find(submission))
    assert proof is not None
    return [await each.ground.registrations(proof.anchor_root) for each in worlds]


async def progress(world: World, submission: Submission) -> Progress:
    return (await world.find(submission)).progress


async def test_all_means_that_the_last_one_makes_it_final(worlds: list[World]) -> None:
    first, second, _ = worlds
    under("all chain polygon", worlds)
    submissions = await first.submit(3)
    await first.reach("final")
    assert await progress(first, submissions[0]) is Progress.SUBMITTED
    assert (await first.find(submissions[0])).location is None
    assert await first.store.final_after(0, 10) == []
    await second.reach("final")
    assert len(await first.store.final_after(0, 10)) == 3
    assert await registrations(worlds, first, submissions[0]) == [1, 1, 0]
    await first.assert_anchored_once(submissions)


async def test_any_is_met_by_whichever_chain_is_there(worlds: list[World]) -> None:
    first, second, _ = worlds
    under("any chain polygon", worlds)
    first.chain.plan("head:before", *[raising(ChainUnavailableError("away"))] * 2)
    submissions = await second.submit(2)
    with pytest.raises(ChainUnavailableError):
        await first.round()
    await second.reach("final")
    await second.assert_anchored_once(submissions)
    location = (await second.find(submissions[0])).location
    assert location is not None
    assert location.contract == second.chain.contract
    assert await registrations(worlds, first, submissions[0]) == [0, 1, 0]
    with pytest.raises(ChainUnavailableError):
        await first.round()
    await first.reach("final")  # it is owed all the same
    assert await registrations(worlds, first, submissions[0]) == [1, 1, 0]
    location = (await second.find(submissions[0])).location
    assert location is not None
    assert location.contract == first.chain.contract


async def test_two_of_three(worlds: list[World]) -> None:
    first, _, third = worlds
    under("2 of chain polygon gnosis", worlds)
    [submission] = await first.submit()
    await third.reach("final")
    assert await progress(first, submission) is Progress.SUBMITTED
    await first.reach("final")
    assert await progress(first, submission) is Progress.FINAL
    assert await registrations(worlds, first, submission) == [1, 0, 1]


async def test_a_target_that_is_down_holds_up_no_window(worlds: list[World]) -> None:
    """The first one signs, and is gone; the second goes on, a window at a time."""
    first, second, _ = worlds
    under("any chain polygon", worlds)
    await first.submit()
    first.chain.plan("send:before", raising(ChainUnavailableError("away")))
    with pytest.raises(ChainUnavailableError):
        await first.round()
    submissions = []
    for trees in range(2, 5):
        submissions += await second.submit()
        await second.reach(*["final"] * trees)
    await second.assert_anchored_once(submissions)
    assert await first.states() == ["signed"]
    await first.reach(*["final"] * 4)
    for submission in submissions:
        assert await registrations(worlds, first, submission) == [1, 1, 0]


async def test_positions_have_no_gaps_whoever_makes_trees_final(worlds: list[World]) -> None:
    under("all chain polygon gnosis", worlds)
    submissions = []
    for count in (3, 1, 4, 1, 5, 2):
        submissions += await worlds[0].submit(count)
        for world in worlds:
            await world.round()
    async with asyncio.timeout(60):
        while len(await worlds[0].store.final_after(15, 10)) < 1:
            await asyncio.gather(*(world.round() for world in worlds))
    rows = await worlds[0].pool.fetch("SELECT first_position, size FROM trees ORDER BY first_position")
    expected = 1
    for row in rows:
        assert row["first_position"] == expected
        expected += row["size"]
    assert expected == len(submissions) + 1
    await worlds[0].assert_anchored_once(submissions)


async def test_what_one_chain_loses_another_still_has(bent: World, worlds: list[World]) -> None:
    """`bent` is "chain" here, on a chain that can be reorganised."""
    second = worlds[1]
    for policy, after in (("any chain polygon", Progress.FINAL), ("all chain polygon", Progress.SUBMITTED)):
        under(policy, [bent, second])
        [submission] = await bent.submit()
        trees = await bent.pool.fetchval("SELECT count(*) FROM trees") + 1
        await bent.reach(*["final"] * trees)
        await second.reach(*["final"] * trees)
        place = await bent.pool.fetchval("SELECT max(first_position) FROM trees")
        await bent.ground.rpc("evm_setAutomine", False)
        await bent.ground.rpc("anvil_reorg", 1, [])
        await bent.round()
        assert (await bent.states())[-1] == "sent"
        anchor = await bent.find(submission)
        assert anchor.progress is after
        assert (anchor.location and anchor.location.contract) == (
            second.chain.contract if after is Progress.FINAL else None
        )
        await bent.ground.rpc("evm_setAutomine", True)
        await bent.ground.mine()
        await bent.reach(*["final"] * trees)
        assert await progress(bent, submission) is Progress.FINAL
        assert await bent.pool.fetchval("SELECT max(first_position) FROM trees") == place


async def test_a_window_that_another_process_closes_meanwhile_is_not_closed_again(worlds: list[World]) -> None:
    """The second sees it due, and waits for the first; what came since waits for a window of its own."""
    first, second, _ = worlds
    windows = [Windows(world.journal, WindowPolicy(1000, 3)) for world in (first, second)]
    await first.submit(3)
    seen = await windows[1].waiting()
    fence = await second.lead()
    async with first.journal.closing(await first.lead()) as closing:
        late = asyncio.create_task(windows[1].close_due(fence, seen))
        await until_one_waits_for_a_lock(first)
        await first.submit()
        ids = [submission_id for submission_id, _ in await closing.pending(3)]
        await closing.insert_tree(bytes(32), [], ids, Policy())
    assert await late is None
    assert await first.pool.fetchval("SELECT count(*) FROM trees") == 1


async def until_one_waits_for_a_lock(world: World) -> None:
    async with asyncio.timeout(10):
        while not await world.pool.fetchval(
            "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        ):
            await asyncio.sleep(0.01)


async def test_a_process_that_dies_after_closing_a_window_leaves_its_transaction_to_the_next(
    worlds: list[World],
) -> None:
    first = worlds[0]
    submissions = await first.submit()
    windows = Windows(first.journal, WindowPolicy(0, 10))
    assert await windows.close_due(await first.lead(), await windows.waiting())
    assert await first.states() == []
    await first.reach("final")
    await first.assert_anchored_once(submissions)


async def test_an_account_belongs_to_one_target(worlds: list[World]) -> None:
    """Two submitters would give out the same nonces."""
    first = worlds[0]
    await first.submit()
    first.chain.plan("send:before", raising(ChainUnavailableError("away")))
    with pytest.raises(ChainUnavailableError):
        await first.round()
    assert await worlds[1].journal.foreign() == []
    [found] = await World(first.pool, first.ground, "polygon").journal.foreign()
    assert found.startswith("target chain, ")


async def test_each_target_has_a_lease_of_its_own(worlds: list[World]) -> None:
    assert [await world.lead() for world in worlds] == [1, 1, 1]
    names = await worlds[0].pool.fetch("SELECT name FROM lease ORDER BY name")
    assert [row["name"] for row in names] == ["submitter", "submitter:gnosis", "submitter:polygon"]


async def test_status_tells_what_each_target_owes(worlds: list[World]) -> None:
    under("any chain polygon", worlds)
    door = Door(worlds[0])
    server = door.server()
    await server.start()
    async with door.channel("admin") as line, door.changes.listening():
        admin: Any = anchor_pb2_grpc.AnchorServiceStub(line)
        await worlds[0].submit(2)
        await worlds[0].reach("final")
        status = await admin.GetStatus(pb.GetStatusRequest())
        [owed] = status.targets
        assert (owed.target, owed.trees) == ("polygon", 1)
        assert owed.seconds > 0
        assert status.lag_seconds == 0
        await worlds[1].reach("final")
        assert not (await admin.GetStatus(pb.GetStatusRequest())).targets
        await server.stop()
