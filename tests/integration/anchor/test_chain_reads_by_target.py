"""VerifyOnChain on two chains, each behind a node of its own, through a real server."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest
from voketag.anchor.v1 import anchor_pb2 as pb
from voketag.anchor.v1 import anchor_pb2_grpc

from anchor.reader import EvmReader
from anchor.submission import Submission
from anchor.target import Policy
from mesh.local.anvil import AnvilServer
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
        account = (await admin.GetStatus(pb.GetStatusRequest())).account
        assert (account.chain_id, account.chain.used_nonces) == (OTHER_CHAIN, account.next_nonce)
        assert account.chain.head == await polygon.chain.head()
