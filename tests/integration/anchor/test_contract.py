"""The contract on a real EVM: who may register, what it costs, and its inclusion check against trust.merkle."""

import secrets
from random import Random
from typing import Any

import pytest
from web3.exceptions import ContractLogicError

from anchor.chain import Fees, UnsignedTransaction
from anchor.contract import anchor_registry
from tests.integration.anchor.world import GWEI, Ground
from trust.merkle import inclusion_path, leaf_hash, node_hash, root, verify_inclusion

ASKED_AT_ONCE = 500
Question = tuple[bytes, int, int, list[bytes], bytes]


def registry(ground: Ground) -> Any:
    return ground.web3.eth.contract(ground.chain().contract, abi=anchor_registry().abi)  # type: ignore[call-overload]


async def transact(ground: Ground, method: str, *arguments: object) -> Any:
    contract = registry(ground)
    data = bytes.fromhex(contract.encode_abi(method, args=list(arguments))[2:])
    nonce = await ground.web3.eth.get_transaction_count(ground.signer.address)  # type: ignore[arg-type]
    unsigned = UnsignedTransaction(31_337, nonce, contract.address, data, 100_000, Fees(90 * GWEI, GWEI))
    sent = await ground.web3.eth.send_raw_transaction((await ground.signer.sign(unsigned)).raw)
    return await ground.web3.eth.wait_for_transaction_receipt(sent, poll_latency=0.01)


async def test_a_root_is_registered_once_and_for_ever(ground: Ground) -> None:
    value = secrets.token_bytes(32)
    assert await registry(ground).functions.blockOf(value).call() == 0
    receipt = await transact(ground, "register", value, 2**64 - 1)
    assert receipt["status"] == 1
    assert await registry(ground).functions.blockOf(value).call() == receipt["blockNumber"]
    [event] = registry(ground).events.Anchored().process_receipt(receipt)
    assert dict(event["args"]) == {"root": value, "size": 2**64 - 1}
    assert (await transact(ground, "register", value, 5))["status"] == 0
    assert await registry(ground).functions.blockOf(value).call() == receipt["blockNumber"]


async def test_registering_costs_at_most_50000_gas(ground: Ground) -> None:
    # Bytes that are not zero cost the most.
    receipt = await transact(ground, "register", bytes([255]) * 32, 2**64 - 1)
    assert receipt["status"] == 1
    assert 45_000 < receipt["gasUsed"] <= 50_000


@pytest.mark.parametrize(
    ("method", "arguments", "reason"),
    [
        ("register", (bytes(32), 1), "not the submitter"),
        ("offerSubmitter", ("0x" + "42" * 20,), "not the submitter"),
        ("acceptSubmitter", (), "not the candidate"),
    ],
)
async def test_a_stranger_is_refused(ground: Ground, method: str, arguments: tuple[object, ...], reason: str) -> None:
    call = registry(ground).functions[method](*arguments)
    with pytest.raises(ContractLogicError, match=reason):
        await call.call({"from": "0x" + "99" * 20})


async def test_an_empty_tree_is_refused(ground: Ground) -> None:
    with pytest.raises(ContractLogicError, match="empty tree"):
        await registry(ground).functions.register(bytes(32), 0).call({"from": ground.signer.address})


async def test_the_role_passes_on_in_two_steps(ground: Ground) -> None:
    other = await Ground.lay(ground.url)
    other.deployment = ground.deployment
    await transact(ground, "offerSubmitter", other.signer.address)
    assert await registry(ground).functions.submitter().call() == ground.signer.address
    assert (await transact(other, "acceptSubmitter"))["status"] == 1
    assert await registry(ground).functions.submitter().call() == other.signer.address
    assert (await transact(ground, "register", secrets.token_bytes(32), 1))["status"] == 0
    assert (await transact(other, "register", secrets.token_bytes(32), 1))["status"] == 1
    assert (await transact(other, "acceptSubmitter"))["status"] == 0
    await other.web3.provider.disconnect()


def question(random: Random) -> Question:
    """A proof, true or with one thing about it changed."""
    size = random.choice([1, 2, 3, random.randrange(1, 40), 2 ** random.randrange(9), random.randrange(1, 300)])
    leaves = [leaf_hash(random.randbytes(4)) for _ in range(size)]
    index = random.randrange(size)
    path, top = inclusion_path(leaves, index), root(leaves)
    match random.randrange(9):
        case 0:
            index = random.randrange(size + 2)
        case 1:
            size = random.choice([0, size - 1, size + 1, 2 * size, 2**64 - 1])
        case 2:
            path = [*path, random.randbytes(32)]
        case 3:
            path = path[:-1]
        case 4 if path:
            path[random.randrange(len(path))] = random.randbytes(32)
        case 5:
            top = random.randbytes(32)
        case _:
            pass
    return leaves[min(index, len(leaves) - 1)], index, size, path, top


async def answers(ground: Ground, questions: list[Question]) -> list[bool]:
    contract = registry(ground)
    async with ground.web3.batch_requests() as asked:
        for each in questions:
            asked.add(contract.functions.verify(*each))
        answers: list[Any] = list(await asked.async_execute())
        return answers


@pytest.mark.parametrize("proofs", [1_500, pytest.param(20_000, marks=pytest.mark.long)])
async def test_the_inclusion_check_agrees_with_trust(ground: Ground, proofs: int) -> None:
    random = Random(9162 + proofs)
    questions = [question(random) for _ in range(proofs)]
    expected = [verify_inclusion(*each) for each in questions]
    assert 0.3 < sum(expected) / proofs < 0.8
    found = []
    for start in range(0, proofs, ASKED_AT_ONCE):
        found += await answers(ground, questions[start : start + ASKED_AT_ONCE])
    assert found == expected


async def test_the_longest_path_is_checked(ground: Ground) -> None:
    size = 2**64 - 1
    leaf, path = leaf_hash(b"x"), [secrets.token_bytes(32) for _ in range(64)]
    node = leaf
    for sibling in path:
        node = node_hash(node, sibling)
    assert verify_inclusion(leaf, 0, size, path, node)
    assert await registry(ground).functions.verify(leaf, 0, size, path, node).call()
    assert not await registry(ground).functions.verify(leaf, 1, size, path, node).call()
