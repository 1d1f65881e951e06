"""VerifyOnChain on two chains, each behind a node of its own, through a real server."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest
from voketag.anchor.v1 import anchor_pb2 as pb
from voketag.anchor.v1 import anchor_pb2_grpc

from anchor.chain import ChainUnavailableError
from anchor.reader import EvmReader
from anchor.submission import Submission
from anchor.target import Policy
from mesh.local.anvil import AnvilServer
from tests.fakes.chain import raising
from tests.integration.anchor.doors import QUESTIONS, BentReader, Door, failing
from tests.integration.anchor.world import OTHER_CHAIN, World, batch, lay_other

POLICY = Policy.parse("any chain polygon")


@pytest.fixture
async def polygon(pool: "asyncpg.Pool[Any]", chain_server: AnvilServer) -> AsyncIterator[World]:
    """The second target, on a chain of its own with another chain id."""
    ground = await lay_other(chain_server.url)
    yield World(pool, ground, "polygon")
    await ground.web3.provider.disconnect()


@pytest.fixture
def other(polygon: World) -> BentReader:
    return BentReader(EvmReader(polygon.ground.web3))


@pytest.fixture
async def door(world: World, polygon: World, other: BentReader) -> AsyncIterator[Door]:
    """Both nodes are read from."""
    for each in (world, polygon):
        each.configure(targets=POLICY)
    door = Door(world, {"polygon": other})
    server = door.server()
    await server.start()
    async with door.changes.listening():
        yield door
        await server.stop()


def verify(submission: Submission, target: str = "") -> pb.VerifyOnChainRequest:
    return pb.VerifyOnChainRequest(batch_id=str(submission.subject_id), target=target)


async def test_each_chain_is_asked_at_its_own_node(world: World, polygon: World, public: Any) -> None:
    [submission] = await world.submit()
    await world.reach("final")
    first = await public.VerifyOnChain(verify(submission))
    assert (first.target, first.registered, first.agrees) == ("chain", True, True)
    assert (await public.VerifyOnChain(verify(submission, "chain"))) == first
    early = await public.VerifyOnChain(verify(submission, "polygon"))
    assert (early.target, early.registered, early.agrees, early.anchor.state) == (
        "polygon",
        False,
        True,
        pb.ANCHOR_STATE_FINAL,
    )
    await polygon.reach("final")
    second = await public.VerifyOnChain(verify(submission, "polygon"))
    assert (second.target, second.registered, second.agrees) == ("polygon", True, True)
    assert (second.location.chain_id, second.location.contract) == (OTHER_CHAIN, polygon.chain.contract)
    assert second.anchor_root == first.anchor_root
    assert first.location.chain_id == world.ground.deployment.chain_id
    assert (await public.VerifyOnChain(verify(submission))).target == "chain"


async def test_the_location_says_which_chain_when_no_target_is_named(world: World, polygon: World, public: Any) -> None:
    """The first target of the policy has nothing yet."""
    [submission] = await polygon.submit()
    await polygon.reach("final")
    found = await public.VerifyOnChain(verify(submission))
    assert (found.target, found.registered, found.agrees) == ("polygon", True, True)
    await polygon.pool.execute("UPDATE transactions SET block_number = block_number + 1 WHERE target = 'polygon'")
    assert not (await public.VerifyOnChain(verify(submission, "polygon"))).agrees
    await world.reach("final")
    assert (await public.VerifyOnChain(verify(submission, "chain"))).agrees


async def test_a_chain_whose_node_is_away_says_nothing_of_the_other(
    world: World, polygon: World, other: BentReader, public: Any
) -> None:
    [submission] = await world.submit()
    await world.reach("final")
    await polygon.reach("final")
    other.away = True
    assert await failing(public.VerifyOnChain(verify(submission, "polygon"))) == "DEPENDENCY_UNAVAILABLE"
    assert (await public.VerifyOnChain(verify(submission, "chain"))).registered
    other.away = False
    other.going.clear()
    hanging = [asyncio.ensure_future(public.VerifyOnChain(verify(submission, "polygon"))) for _ in range(QUESTIONS)]
    async with asyncio.timeout(10):
        while other.waiting < QUESTIONS:
            await asyncio.sleep(0.01)
    assert await failing(public.VerifyOnChain(verify(submission, "polygon"))) == "RATE_LIMITED"
    assert (await public.VerifyOnChain(verify(submission))).registered
    other.going.set()
    assert all(answer.registered for answer in await asyncio.gather(*hanging))


async def test_what_is_no_chain_of_the_anchor(world: World, public: Any) -> None:
    [submission] = await world.submit()
    pending = await public.VerifyOnChain(verify(submission, "polygon"))
    assert (pending.target, pending.registered, pending.agrees) == ("", False, True)
    world.configure(targets=Policy.parse("2 of chain polygon tsa"))
    await world.reach("final")
    for target in ("gnosis", "tsa"):
        assert await failing(public.VerifyOnChain(verify(submission, target))) == "TARGET_NOT_FOUND"
    for target in ("Polygon", "a" * 33, "-", " "):
        assert await failing(public.VerifyOnChain(verify(submission, target))) == "VALIDATION_FAILED"
    assert await failing(public.VerifyOnChain(verify(batch(), "polygon"))) == "ANCHOR_NOT_FOUND"


async def test_operators_see_the_account_at_its_own_chain(world: World, polygon: World, door: Door) -> None:
    await polygon.submit()
    await polygon.reach("final")
    async with door.channel("admin") as line:
        admin: Any = anchor_pb2_grpc.AnchorServiceStub(line)
        before = await polygon.chain.head()
        account = (await admin.GetStatus(pb.GetStatusRequest())).account
        assert (account.chain_id, account.chain.used_nonces) == (OTHER_CHAIN, account.next_nonce)
        assert before <= account.chain.head <= await polygon.chain.head()  # blocks go on for a moment


async def test_operators_see_the_account_of_each_chain(
    world: World, polygon: World, other: BentReader, door: Door
) -> None:
    async with door.channel("admin") as line:
        admin: Any = anchor_pb2_grpc.AnchorServiceStub(line)
        assert list((await admin.GetStatus(pb.GetStatusRequest())).chains) == []
        for rounds in (1, 2):
            await world.submit()
            await world.reach(*["final"] * rounds)
        polygon.chain.plan("send:before", raising(ChainUnavailableError("away")))
        with pytest.raises(ChainUnavailableError):
            await polygon.round()
        assert await polygon.states() == ["signed", "signed"]
        before = [await its.chain.head() for its in (world, polygon)]
        told = await admin.GetStatus(pb.GetStatusRequest())
        done, late = told.chains
        assert [done.target, late.target] == ["chain", "polygon"]
        for chain, its, head in zip((done, late), (world, polygon), before, strict=True):
            account = chain.account
            assert (account.address, account.contract) == (its.signer.address, its.chain.contract)
            assert account.chain_id == its.ground.deployment.chain_id
            assert head <= account.chain.head <= await its.chain.head()  # blocks go on for a moment
            assert int(account.chain.balance) == await its.chain.balance(its.signer.address)
            assert account.chain.max_fee >= account.chain.priority_fee > 0
        assert done.account.next_nonce == done.account.chain.used_nonces
        assert late.account.next_nonce == late.account.chain.used_nonces + 2
        assert (done.built, done.signed, done.sent, done.mined, done.lag_seconds) == (0, 0, 0, 0, 0)
        assert (late.built, late.signed, late.sent, late.mined) == (0, 2, 0, 0)
        (owed,) = told.targets
        assert (owed.target, owed.trees) == ("polygon", 2)
        assert late.lag_seconds >= owed.seconds > 0
        assert (told.built, told.signed) == (0, 2)
        assert told.account == done.account, "of one tree the first name"
        await polygon.reach("final", "final")
        other.away = True
        seen, blind = (await admin.GetStatus(pb.GetStatusRequest())).chains
        assert (seen.account.HasField("chain"), blind.account.HasField("chain")) == (True, False)
        assert (blind.account.next_nonce, blind.lag_seconds) == (late.account.next_nonce, 0)
