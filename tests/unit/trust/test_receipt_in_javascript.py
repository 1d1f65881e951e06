"""web/receipt.mjs against trust.receipt: both must read, accept and refuse the same."""

import base64
import json
import subprocess
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tests.nodejs import node
from tests.unit.trust.vectors import load, named
from trust.receipt import Receipt, ReceiptMalformedError, verify

VECTORS = load("receipt")
VALID = named(VECTORS["valid"])
MUTATIONS = named(VECTORS["mutations"])
CHAIN = VECTORS["chain"]
STEPS = ["product_in_batch", "batch_in_anchor", "anchor_on_chain"]
DRIVER = Path(__file__).with_name("receipts.mjs")
RANDOM_MUTATIONS = 2_000


class Roots:
    """The chain of the vectors, which has registered the roots of the valid receipts."""

    def __init__(self) -> None:
        receipts = [Receipt.from_json(vector["text"].encode()) for vector in VALID.values()]
        self.roots = {receipt.anchor.root: CHAIN["block_number"] for receipt in receipts if receipt.anchor}

    def chain_id(self) -> int:
        number: int = CHAIN["chain_id"]
        return number

    def block_of(self, contract: str, root: bytes) -> int | None:
        return self.roots.get(root) if contract == CHAIN["contract"] else None


ROOTS = Roots()


def in_javascript(texts: list[bytes]) -> list[dict[str, Any]]:
    roots = {base64.urlsafe_b64encode(root).rstrip(b"=").decode(): block for root, block in ROOTS.roots.items()}
    asked = {"texts": [base64.b64encode(text).decode() for text in texts], "roots": roots, **CHAIN}
    run = subprocess.run(
        [node(), str(DRIVER)], check=True, input=json.dumps(asked).encode(), stdout=subprocess.PIPE, timeout=120
    )
    findings: list[dict[str, Any]] = json.loads(run.stdout)
    return findings


def in_python(text: bytes) -> dict[str, Any]:
    """What trust.receipt says, in the driver's terms; of a malformed one only that it is."""
    try:
        receipt = Receipt.from_json(text)
    except ReceiptMalformedError:
        return {"malformed": True}
    found = {"offline": verify(receipt), "asked": verify(receipt, ROOTS, contract=CHAIN["contract"])}
    return {
        name: {
            "steps": [{"name": step.name, "outcome": step.outcome.value} for step in verification.steps],
            "failed": verification.failed,
            "pending": verification.pending,
            "valid": verification.valid,
            "onChain": verification.on_chain,
        }
        for name, verification in found.items()
    }


def comparable(finding: dict[str, Any]) -> dict[str, Any]:
    return {"malformed": True} if "malformed" in finding else finding


def test_published_receipts_and_their_mutations() -> None:
    cases = {**VALID, **MUTATIONS}
    found = dict(zip(cases, in_javascript([case["text"].encode() for case in cases.values()]), strict=True))
    for name, vector in VALID.items():
        assert [step["name"] for step in found[name]["offline"]["steps"]] == STEPS
        assert found[name]["asked"]["onChain"] is (vector["stage"] == "final")
    for name, mutation in MUTATIONS.items():
        assert ("malformed" in found[name]) is (mutation["result"] == "malformed"), name
        if mutation["result"] != "malformed":
            assert found[name]["offline"]["failed"] is (mutation["result"] == "failed"), name
            assert not found[name]["asked"]["valid"], name
    for name, case in cases.items():
        assert comparable(found[name]) == in_python(case["text"].encode()), name


@pytest.mark.parametrize("seed", [1, 2])
def test_changed_bytes_are_judged_alike(seed: int) -> None:
    random = Random(seed)
    texts = [vector["text"].encode() for vector in VALID.values()]
    changed = []
    for _ in range(RANDOM_MUTATIONS):
        text = bytearray(random.choice(texts))
        match random.randrange(3):
            case 0:
                text[random.randrange(len(text))] ^= 1 << random.randrange(8)
            case 1:
                del text[random.randrange(len(text))]
            case _:
                text.insert(random.randrange(len(text) + 1), random.choice(b' "{}[],:-0eE.\\\xc3\xef\xbb\xbf\x00z9'))
        changed.append(bytes(text))
    for original, finding in zip(changed, in_javascript(changed), strict=True):
        assert comparable(finding) == in_python(original), original
    assert sum("malformed" not in finding for finding in in_javascript(changed[:500])) > 5
