"""Evidence beside the chain: other chains and time stamps, by trust.receipt and, as far as it goes, web/receipt.mjs."""

from dataclasses import dataclass
from datetime import datetime

import pytest

from mesh.timestamps import Authorities
from tests.unit.trust.test_receipt import DeadChain
from tests.unit.trust.test_receipt_in_javascript import ROOTS, comparable, in_javascript, in_python
from tests.unit.trust.vectors import load, named
from trust.receipt import ChainPart, Outcome, Receipt, ReceiptMalformedError, StampPart, verify

VECTORS = load("evidence")
VALID = named(VECTORS["valid"])
MUTATIONS = named(VECTORS["mutations"])
AUTHORITIES = Authorities.from_pem(VECTORS["authority"].encode())


def read(text: str) -> Receipt:
    return Receipt.from_json(text.encode())


@pytest.mark.parametrize("name", VALID)
def test_published_receipts(name: str) -> None:
    text, outcomes = VALID[name]["text"], VALID[name]["outcomes"]
    receipt = read(text)
    assert receipt.to_json().decode() == text
    found = verify(receipt, ROOTS, stamps=AUTHORITIES)
    assert [step.outcome.value for step in found.steps[3:]] == outcomes
    assert [step.name for step in found.steps[3:]] == [f"evidence_{number}" for number in range(1, len(outcomes) + 1)]
    assert (found.valid, found.on_chain, found.pending) == (True, True, False)
    offline = verify(receipt)
    assert {step.outcome for step in offline.steps[2:]} == {Outcome.NOT_CHECKED}
    assert offline.valid


def test_the_time_of_a_stamp_is_told() -> None:
    found = verify(read(VALID["a time stamp"]["text"]), stamps=AUTHORITIES)
    time = datetime.fromisoformat(VECTORS["time"])
    assert found.steps[3].detail == f"a time-stamp authority had the anchor root at {time.isoformat()}"


@pytest.mark.parametrize("name", MUTATIONS)
def test_mutations_are_refused(name: str) -> None:
    text, result = MUTATIONS[name]["text"], MUTATIONS[name]["result"]
    if result == "malformed":
        with pytest.raises(ReceiptMalformedError):
            read(text)
        return
    receipt = read(text)
    assert verify(receipt).valid
    found = verify(receipt, ROOTS if result == "chain" else None, stamps=AUTHORITIES)
    assert (found.failed, found.valid, found.on_chain) == (True, False, False)


def test_javascript_reads_and_refuses_the_same() -> None:
    cases = {name: case["text"].encode() for name, case in {**VALID, **MUTATIONS}.items()}
    for (name, text), finding in zip(cases.items(), in_javascript(list(cases.values())), strict=True):
        assert comparable(finding) == in_python(text), name


def test_a_chain_that_is_not_reached_says_nothing() -> None:
    receipt = read(VALID["a second registration on the same chain"]["text"])
    found = verify(receipt, DeadChain())
    assert found.steps[3].outcome is Outcome.NOT_CHECKED
    assert found.valid


@dataclass
class Polygon:
    """The chain of one place."""

    place: ChainPart

    def chain_id(self) -> int:
        return self.place.chain_id

    def block_of(self, contract: str, root: bytes) -> int | None:
        return self.place.block_number if contract == self.place.contract else None


def test_another_chain_is_asked_when_its_node_is_given() -> None:
    receipt = read(VALID["another chain, and a time stamp"]["text"])
    other = receipt.evidence[0]
    assert isinstance(other, ChainPart)
    found = verify(receipt, ROOTS, others=[Polygon(other)])
    assert [step.outcome for step in found.steps[2:]] == [Outcome.PASSED, Outcome.PASSED, Outcome.NOT_CHECKED]

    class Elsewhere(Polygon):
        def block_of(self, contract: str, root: bytes) -> int | None:
            return self.place.block_number + 1

    assert verify(receipt, ROOTS, others=[Elsewhere(other)]).failed


def test_every_changed_byte_of_a_stamp_fails_or_says_the_same() -> None:
    """Some bytes of a TimeStampResp mean nothing, as the version of its container: they change no time."""
    receipt = read(VALID["a time stamp"]["text"])
    [stamp] = receipt.evidence
    assert isinstance(stamp, StampPart)
    good = verify(receipt, stamps=AUTHORITIES).steps[3]
    same = 0
    for place in range(len(stamp.response)):
        changed = bytearray(stamp.response)
        changed[place] ^= 1
        forged = Receipt(
            receipt.product,
            receipt.batch_id,
            receipt.batch,
            receipt.anchor,
            receipt.chain,
            (StampPart(bytes(changed)),),
        )
        found = verify(forged, stamps=AUTHORITIES).steps[3]
        same += found == good
        assert found == good or found.outcome is not Outcome.PASSED
    assert same < 20
