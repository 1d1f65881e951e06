"""The contract on a real EVM: who may register, what it costs, and its inclusion check against trust.merkle."""

import secrets
from operator import itemgetter
from random import Random
from typing import Any

import pytest
from aiohttp import ClientSession
from eth_abi.abi import encode
from eth_utils.crypto import keccak
from web3.exceptions import ContractLogicError

from anchor.chain import Fees, UnsignedTransaction
from anchor.contract import anchor_registry
from tests.integration.anchor.world import GWEI, Ground, World
from trust.merkle import inclusion_path, leaf_hash, node_hash, root, verify_inclusion

ASKED_AT_ONCE = 500
Question = tuple[bytes, int, int, list[bytes], bytes]
TYPES = ("bytes32", "uint64", "uint64", "bytes32[]", "bytes32")
VERIFY = keccak(text=f"verify({','.join(TYPES)})")[:4]
GAS = {"register": 47_757, "offerSubmitter": 47_355, "pause": 24_645, "resume": 46_571, "acceptSubmitter": 27_358}


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


async def test_gas(ground: Ground) -> None:
    """A snapshot: whoever changes the contract sees what it costs. Bytes that are not zero cost the most."""
    somebody = "0xFFfFfFffFFfffFFfFFfFFFFFffFFFffffFfFFFfF"
    spent = {}
    for method, arguments in (
        ("register", (bytes([255]) * 32, 2**64 - 1)),
        ("offerSubmitter", (somebody,)),
        ("pause", ()),
        ("resume", ()),
    ):
        receipt = await transact(ground, method, *arguments)
        assert receipt["status"] == 1
        spent[method] = receipt["gasUsed"]
    await transact(ground, "offerSubmitter", ground.signer.address)
    spent["acceptSubmitter"] = (await transact(ground, "acceptSubmitter"))["gasUsed"]
    assert spent == GAS
    assert spent["register"] <= 50_000


async def test_paused_takes_no_roots_and_keeps_what_it_has(ground: Ground) -> None:
    kept, refused = secrets.token_bytes(32), secrets.token_bytes(32)
    contract = registry(ground)
    before = await transact(ground, "register", kept, 1)
    paused = await transact(ground, "pause")
    [event] = contract.events.Paused().process_receipt(paused)
    assert event["args"]["submitter"] == ground.signer.address
    assert await contract.functions.paused().call()
    with pytest.raises(ContractLogicError, match="paused"):
        await contract.functions.register(refused, 1).call({"from": ground.signer.address})
    assert (await transact(ground, "register", refused, 1))["status"] == 0
    assert (await transact(ground, "pause"))["status"] == 0
    assert await contract.functions.blockOf(kept).call() == before["blockNumber"]
    assert (await transact(ground, "resume"))["status"] == 1
    assert (await transact(ground, "resume"))["status"] == 0
    assert not await contract.functions.paused().call()
    assert (await transact(ground, "register", refused, 1))["status"] == 1


async def test_paused_stays_paused_when_the_role_passes_on(ground: Ground) -> None:
    other = await Ground.lay(ground.url)
    other.deployment = ground.deployment
    await transact(ground, "pause")
    await transact(ground, "offerSubmitter", other.signer.address)
    await transact(other, "acceptSubmitter")
    assert await registry(ground).functions.paused().call()
    assert (await transact(ground, "resume"))["status"] == 0
    assert (await transact(other, "register", bytes(32), 1))["status"] == 0
    assert (await transact(other, "resume"))["status"] == 1
    assert (await transact(other, "register", bytes(32), 1))["status"] == 1
    await other.web3.provider.disconnect()


async def test_the_submitter_waits_while_the_contract_is_paused(bent: World) -> None:
    await transact(bent.ground, "pause")
    submissions = await bent.submit()
    assert not await bent.round()
    assert await bent.states() == ["built"]
    assert bent.registry.get_sample_value("voketag_anchor_faults_total", {"kind": "ContractPaused"}) == 1
    await transact(bent.ground, "resume")
    await bent.reach("final")
    await bent.assert_anchored_once(submissions)


@pytest.mark.parametrize(
    ("method", "arguments", "reason"),
    [
        ("register", (bytes(32), 1), "not the submitter"),
        ("offerSubmitter", ("0x" + "42" * 20,), "not the submitter"),
        ("acceptSubmitter", (), "not the candidate"),
        ("pause", (), "not the submitter"),
        ("resume", (), "not the submitter"),
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
    """What the contract says, asked in one JSON-RPC batch."""
    to = ground.chain().contract
    asked = [
        {
            "jsonrpc": "2.0",
            "id": number,
            "method": "eth_call",
            "params": [{"to": to, "data": "0x" + (VERIFY + encode(TYPES, each)).hex()}, "latest"],
        }
        for number, each in enumerate(questions)
    ]
    async with ClientSession() as session, session.post(ground.url, json=asked) as response:
        said: list[Any] = await response.json()
    return [bool(int(each["result"], 16)) for each in sorted(said, key=itemgetter("id"))]


@pytest.mark.parametrize("proofs", [10_000, pytest.param(40_000, marks=pytest.mark.long)])
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
