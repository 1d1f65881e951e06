"""A receipt's calls on a real contract: they say what trust.receipt says."""

import asyncio
from dataclasses import replace
from random import Random
from typing import Any

import pytest

from tests.integration.anchor.world import Ground, World, batch
from tests.unit.trust.vectors import load
from trust import canonical, merkle
from trust.calls import Call, calls
from trust.receipt import ChainPart, Outcome, ProductPart, Receipt, ReceiptMalformedError, TreePart, verify

VECTORS = load("receipt")
UNTRUE = [each for each in VECTORS["mutations"] if each["result"] != "malformed"]


async def returns(ground: Ground, call: Call) -> int:
    answer = await ground.rpc("eth_call", {"to": ground.chain().contract, "data": "0x" + call.data.hex()}, "latest")
    return int(answer, 16)


async def agree(ground: Ground, receipt: Receipt) -> list[bool]:
    """Whether each Merkle step holds, which the contract and trust have to say alike."""
    said = {step.name: step.outcome for step in verify(receipt).steps}
    found = [call for call in calls(receipt) if call.step != "anchor_on_chain"]
    answers = [bool(await returns(ground, call)) for call in found]
    assert answers == [said[call.step] is Outcome.PASSED for call in found]
    return answers


async def test_published_receipts_hold_on_the_contract(ground: Ground) -> None:
    for case in VECTORS["valid"]:
        assert all(await agree(ground, Receipt.from_json(case["text"].encode()))), case["name"]


async def test_published_mutations_are_judged_alike(ground: Ground) -> None:
    assert len(UNTRUE) > 50
    receipts = [Receipt.from_json(case["text"].encode()) for case in UNTRUE]
    answers = await asyncio.gather(*[agree(ground, receipt) for receipt in receipts])
    assert sum(not all(answer) for answer in answers) > 50


async def test_changed_calldata_is_refused(ground: Ground) -> None:
    """Every word but the size, which says nothing against a place that it allows as well, and the layout's own."""
    random, tried = Random(7), 0
    for case in VECTORS["valid"]:
        for call in calls(Receipt.from_json(case["text"].encode()))[:2]:
            words = [0, 1, 4, *range(6, len(call.data[4:]) // 32)]
            for _ in range(60):
                data = bytearray(call.data)
                data[4 + 32 * random.choice(words) + random.randrange(32)] ^= 1 << random.randrange(8)
                assert not await holds(ground, bytes(data)), (case["name"], data.hex())
                tried += 1
            cuts = (1, 32, len(call.data) // 2) if len(words) > 3 else ()  # zeros that are cut off are read as zeros
            for cut in cuts:
                assert not await holds(ground, call.data[:-cut])
    assert tried >= 200


async def holds(ground: Ground, data: bytes) -> bool:
    """Whether the contract says so; calldata that is not of its ABI makes it revert."""
    call = {"to": ground.chain().contract, "data": "0x" + data.hex()}
    answer = await ground.web3.provider.make_request("eth_call", [call, "latest"])
    if "error" in answer:
        assert answer["error"]["code"] == 3, answer
        return False
    return bool(int(answer["result"], 16))


async def test_a_receipt_from_product_to_block(world: World) -> None:
    products = [bytes([15, *range(15)])[:15] + bytes([number]) for number in range(5)]
    attributes = {"name": "Olive oil"}
    digest = canonical.attributes_digest(canonical.attributes_bytes(attributes))
    plain = batch(size=5)
    leaves = [
        merkle.leaf_hash(canonical.product_leaf(plain.subject_id.bytes, index, product, digest))
        for index, product in enumerate(products)
    ]
    submission = replace(plain, root=merkle.root(leaves))
    await world.submit(3)
    await world.hand_in(submission)
    await world.reach("final")
    anchor = await world.find(submission)
    proof = await world.proofs.of(anchor)
    assert proof is not None
    assert anchor.location is not None
    place = anchor.location
    receipt = Receipt(
        product=ProductPart(products[4], attributes),
        batch_id=plain.subject_id.bytes,
        batch=TreePart(4, 5, tuple(merkle.inclusion_path(leaves, 4)), submission.root),
        anchor=TreePart(proof.index, proof.size, proof.path, proof.anchor_root),
        chain=ChainPart(place.chain_id, place.contract.lower(), "0x" + place.transaction.hex(), place.block_number),
    )
    found = calls(Receipt.from_json(receipt.to_json()))
    assert [call.step for call in found] == ["product_in_batch", "batch_in_anchor", "anchor_on_chain"]
    for call in found:
        assert await returns(world.ground, call) == call.expected
    for other in (
        replace(receipt, product=ProductPart(products[3], attributes)),
        replace(receipt, product=ProductPart(products[4], {"name": "Olive oil!"})),
        replace(receipt, batch_id=bytes(16)),
    ):
        assert not all(await agree(world.ground, other))


async def test_a_pending_receipt_has_fewer_calls() -> None:
    receipt = Receipt.from_json(VECTORS["valid"][0]["text"].encode())
    steps = [[call.step for call in calls(each)] for each in (replace(receipt, chain=None), _bare(receipt))]
    assert steps == [["product_in_batch", "batch_in_anchor"], ["product_in_batch"]]


async def test_parts_that_no_call_can_carry_are_told() -> None:
    receipt = Receipt.from_json(VECTORS["valid"][0]["text"].encode())
    wrong: Any = replace(receipt, product=ProductPart(receipt.product.id, {"": "x"}))
    for each in (wrong, replace(receipt, batch=replace(receipt.batch, index=-1))):
        with pytest.raises(ReceiptMalformedError):
            calls(each)


def _bare(receipt: Receipt) -> Receipt:
    return replace(receipt, chain=None, anchor=None)
