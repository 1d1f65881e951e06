"""A node that hangs, refuses, breaks off, lies or is another one, over real HTTP: nothing is lost or believed."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import pytest

from anchor.chain import ChainContradictedError, ChainMismatchError, ChainUnavailableError
from anchor.contract import anchor_registry
from anchor.evm import EvmChain, web3_over_http
from tests.fakes.chain import FaultyChain
from tests.fakes.node import Answer, Disconnect, FaultyNode, Garbage, Hang, NodeFault, Status
from tests.integration.anchor.world import World

PATIENCE = 0.5


@pytest.fixture
async def node(bent: World) -> AsyncIterator[FaultyNode]:
    """A faulty node between the submitter and the chain; the tests themselves ask the chain."""
    async with FaultyNode(bent.ground.url) as node:
        web3 = web3_over_http(node.url, PATIENCE)
        bent.chain = FaultyChain(EvmChain(web3, bent.ground.deployment, anchor_registry(), gas=bent.ground.gas))
        bent.configure()
        yield node
        await web3.provider.disconnect()


FAULTS: dict[str, NodeFault] = {
    "hangs": Hang(),
    "429": Status(429),
    "503": Status(503),
    "disconnects": Disconnect(),
    "disconnects when done": Disconnect(done=True),
    "half an answer": Garbage(),
    "an error": lambda answer: {"jsonrpc": "2.0", "id": answer["id"], "error": {"code": -32603, "message": "ouch"}},
    "null": lambda answer: {"jsonrpc": "2.0", "id": answer["id"], "result": None},
}
METHODS = ["eth_blockNumber", "eth_getTransactionCount", "eth_sendRawTransaction", "eth_call", "eth_getBlockByNumber"]


@pytest.mark.parametrize("method", METHODS)
async def test_a_node_that_does_not_answer(bent: World, node: FaultyNode, method: str) -> None:
    submissions = await bent.submit(2)
    for fault in FAULTS.values():
        node.plan(method, fault)
    async with asyncio.timeout(30):
        while not node.spent() and await bent.states() != ["final"]:
            with suppress(ChainUnavailableError):
                await bent.round()
    await bent.reach("final")
    await bent.assert_anchored_once(submissions)


def changed(**fields: str) -> NodeFault:
    """A receipt, if there is one, with other fields."""

    def lie(answer: Answer) -> Answer:
        return answer | {"result": answer["result"] | fields} if answer.get("result") else answer

    return lie


@pytest.mark.parametrize(
    "fields",
    [
        {"blockHash": "0x" + "ab" * 32},
        {"blockNumber": "0x1"},
        {"blockNumber": "0xffffff"},
        {"blockNumber": "0x1", "blockHash": "0x" + "ab" * 32},
    ],
    ids=["another hash", "an older block", "a block to come", "another block"],
)
async def test_a_receipt_that_the_chain_does_not_bear_out(
    bent: World, node: FaultyNode, fields: dict[str, str]
) -> None:
    submissions = await bent.submit(2)
    node.always("eth_getTransactionReceipt", changed(**fields))
    await bent.round()
    for _ in range(3):
        with pytest.raises(ChainContradictedError, match="but contract or block do not"):
            await bent.round()
    assert await bent.states() == ["sent"]
    node.heal()
    await bent.reach("final")
    await bent.assert_anchored_once(submissions)


async def test_a_receipt_of_a_transaction_that_was_never_mined(bent: World, node: FaultyNode) -> None:
    """A copy of an earlier, true receipt under the new transaction's hash."""
    first = await bent.submit()
    await bent.reach("final")
    true: Any = await bent.ground.rpc(
        "eth_getTransactionReceipt", "0x" + (await bent.journal.attempts(1))[0].hash.hex()
    )
    await bent.ground.rpc("evm_setAutomine", False)
    node.always("eth_getTransactionReceipt", lambda answer: answer | {"result": true})
    second = await bent.submit()
    for _ in range(3):
        with pytest.raises(ChainContradictedError):
            await bent.round()
    assert await bent.states() == ["final", "signed"]
    node.heal()
    await bent.round()
    await bent.ground.mine()
    await bent.ground.rpc("evm_setAutomine", True)
    await bent.reach("final", "final")
    await bent.assert_anchored_once(first + second)


async def test_a_lie_about_a_mined_registration_makes_nothing_final(bent: World, node: FaultyNode) -> None:
    bent.configure(confirmations=3)
    submissions = await bent.submit()
    await bent.reach("mined")
    await bent.ground.mine(3)
    node.always("eth_getBlockByNumber", changed(hash="0x" + "cd" * 32))
    with pytest.raises(ChainContradictedError):
        await bent.round()
    assert await bent.states() == ["mined"]
    node.heal()
    await bent.reach("final")
    await bent.assert_anchored_once(submissions)


async def test_a_receipt_that_says_failed_costs_a_nonce_at_most(bent: World, node: FaultyNode) -> None:
    submissions = await bent.submit()
    bent.configure(resend_after_seconds=0)
    node.always("eth_getTransactionReceipt", changed(status="0x0"))
    await bent.round()
    node.heal()
    await bent.reach("final")
    await bent.assert_anchored_once(submissions)


async def test_receipts_that_are_kept_back_only_delay(bent: World, node: FaultyNode) -> None:
    submissions = await bent.submit()
    node.always("eth_getTransactionReceipt", lambda answer: answer | {"result": None})
    await bent.round()
    bent.configure(resend_after_seconds=0)
    for _ in range(3):
        await bent.round()
    node.heal()
    await bent.reach("final")
    await bent.assert_anchored_once(submissions)


async def test_another_chain_behind_the_same_address(bent: World, node: FaultyNode) -> None:
    await bent.submit()
    node.plan("eth_blockNumber", Status(503))
    with pytest.raises(ChainUnavailableError):
        await bent.round()
    node.always("eth_chainId", lambda answer: answer | {"result": "0x1"})
    with pytest.raises(ChainMismatchError, match="the node is on chain 1"):
        await bent.round()
    assert bent.chain.sent == []
