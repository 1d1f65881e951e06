import json
import sys
from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.trust.vectors import load, named
from trust import canonical, merkle
from trust.chain import ChainUnreachableError
from trust.receipt import (
    ChainPart,
    Outcome,
    ProductPart,
    Receipt,
    ReceiptMalformedError,
    ReceiptState,
    TreePart,
    Verification,
    verify,
)

VECTORS = load("receipt")
VALID = named(VECTORS["valid"])
MUTATIONS = named(VECTORS["mutations"])
CONTRACT = VECTORS["chain"]["contract"]
MALFORMED = [name for name, mutation in MUTATIONS.items() if mutation["result"] == "malformed"]
UNTRUE = [name for name, mutation in MUTATIONS.items() if mutation["result"] != "malformed"]

PASSED, FAILED, NOT_CHECKED = Outcome.PASSED, Outcome.FAILED, Outcome.NOT_CHECKED


@dataclass
class Ledger:
    """A chain with one contract, which has registered some roots."""

    roots: dict[bytes, int]
    number: int = VECTORS["chain"]["chain_id"]
    contract: str = CONTRACT

    def chain_id(self) -> int:
        return self.number

    def block_of(self, contract: str, root: bytes) -> int | None:
        return self.roots.get(root) if contract == self.contract else None


class DeadChain:
    def chain_id(self) -> int:
        raise ChainUnreachableError("http://node cannot be reached")

    def block_of(self, contract: str, root: bytes) -> int | None:
        raise ChainUnreachableError(f"http://node cannot be reached for {contract} {root.hex()}")


def read(name: str) -> Receipt:
    return Receipt.from_json(VALID[name]["text"].encode())


def outcomes(verification: Verification) -> list[Outcome]:
    return [step.outcome for step in verification.steps]


FINAL = read("a product of 100 in a batch of 5")
assert FINAL.anchor is not None
LEDGER = Ledger({FINAL.anchor.root: VECTORS["chain"]["block_number"]})


@pytest.mark.parametrize("name", VALID)
def test_published_receipts(name: str) -> None:
    text, stage = VALID[name]["text"].encode(), VALID[name]["stage"]
    receipt = Receipt.from_json(text)
    assert receipt.to_json() == text
    assert receipt.state is (ReceiptState.FINAL if stage == "final" else ReceiptState.PENDING)
    offline = verify(receipt)
    assert outcomes(offline) == [PASSED, NOT_CHECKED if stage == "pending" else PASSED, NOT_CHECKED]
    assert offline.pending is (stage != "final")
    assert offline.valid is (stage != "pending")
    assert not offline.failed
    assert not offline.on_chain
    roots = {receipt.anchor.root: VECTORS["chain"]["block_number"]} if receipt.anchor else {}
    asked = verify(receipt, Ledger(roots), contract=CONTRACT.upper().replace("X", "x"))
    assert asked.on_chain is (stage == "final")
    assert asked.valid is offline.valid


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_documents_are_refused(name: str) -> None:
    with pytest.raises(ReceiptMalformedError, match=r"^receipt") as caught:
        Receipt.from_json(MUTATIONS[name]["text"].encode())
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("name", UNTRUE)
def test_untrue_receipts_are_refused(name: str) -> None:
    receipt = Receipt.from_json(MUTATIONS[name]["text"].encode())
    assert verify(receipt).failed is (MUTATIONS[name]["result"] == "failed")
    verification = verify(receipt, LEDGER, contract=CONTRACT)
    assert verification.failed
    assert not verification.valid
    assert not verification.on_chain


def test_every_bit_flip_of_every_hash_fails() -> None:
    for part in ("batch", "anchor"):
        tree: TreePart = getattr(FINAL, part)
        for place in range(-1, len(tree.path)):
            for bit in range(256):
                value = tree.root if place < 0 else tree.path[place]
                flipped = (int.from_bytes(value, "big") ^ 1 << bit).to_bytes(32, "big")
                path = tuple(flipped if other == place else sibling for other, sibling in enumerate(tree.path))
                mutated = replace(tree, path=path, root=flipped if place < 0 else tree.root)
                receipt = replace(FINAL, batch=mutated) if part == "batch" else replace(FINAL, anchor=mutated)
                assert verify(receipt).failed


@given(st.data())
def test_every_changed_byte_is_refused_or_told_by_the_chain(data: st.DataObject) -> None:
    text = FINAL.to_json()
    place = data.draw(st.integers(0, len(text) - 1))
    byte = data.draw(st.integers(0, 255).filter(lambda byte: byte != text[place]))
    changed = text[:place] + bytes([byte]) + text[place + 1 :]
    try:
        receipt = Receipt.from_json(changed)
    except ReceiptMalformedError:
        return
    assert receipt.chain is not None
    assert FINAL.chain is not None
    assert receipt.anchor is not None
    # Two things are bound by nothing: the transaction, a pointer, and an anchor tree's size of the same shape.
    if replace(receipt, chain=replace(receipt.chain, transaction=FINAL.chain.transaction)) == FINAL:
        return
    if replace(receipt, anchor=replace(receipt.anchor, size=5)) == FINAL and 5 <= receipt.anchor.size <= 8:
        return
    assert verify(receipt, LEDGER, contract=CONTRACT).failed


texts = st.text(max_size=20)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda children: st.lists(children, max_size=3) | st.dictionaries(texts, children, max_size=3),
)


@given(json_values, st.sampled_from(["product", "batch", "anchor", "chain", "state", "type", "new"]))
def test_any_json_in_any_part_is_refused(value: Any, part: str) -> None:
    document = json.loads(FINAL.to_json())
    document[part] = value
    with pytest.raises(ReceiptMalformedError):
        Receipt.from_json(json.dumps(document, sort_keys=True, separators=(",", ":")).encode())


@pytest.mark.parametrize("opening", ["[", '{"a":', '["', '"\\"[', '"[', "[ ", '[""'])
def test_nesting_cannot_exhaust_the_stack(opening: str) -> None:
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(1_000_000)
    try:
        with pytest.raises(ReceiptMalformedError):
            Receipt.from_json((opening * 65_536)[:65_536].encode())
    finally:
        sys.setrecursionlimit(limit)


@given(st.binary(max_size=200))
def test_any_bytes_are_refused(text: bytes) -> None:
    with pytest.raises(ReceiptMalformedError):
        Receipt.from_json(text)


def test_white_space_around_is_ignored_up_to_the_size_limit() -> None:
    text = FINAL.to_json()
    assert Receipt.from_json(b" \r\n\t" + text + b"\n") == FINAL
    assert Receipt.from_json(text.ljust(65_536)) == FINAL
    with pytest.raises(ReceiptMalformedError, match="65537 bytes"):
        Receipt.from_json(text.ljust(65_537))


def test_refusals_say_where() -> None:
    expected = {
        "path element null": r"^receipt\.batch\.path\[0\] is not a hash",
        "batch root with spare bits": r"^receipt\.batch\.root is not a hash",
        "lacks chain.contract": r"^receipt\.chain lacks contract$",
        "unknown field in batch": r"^receipt\.batch has the unknown field 'extra'$",
        "batch.size is true": r"^receipt\.batch\.size is not a whole number",
        "PENDING with a chain": r"^receipt\.state is not FINAL",
        "a repeated inner key": r"^receipt has the field 'size' twice",
        "attribute not NFC": r"^receipt\.product\.attributes is not canonical: attribute 'name'",
        "pretty-printed": r"^receipt is not in canonical form",
    }
    for name, message in expected.items():
        with pytest.raises(ReceiptMalformedError, match=message):
            Receipt.from_json(MUTATIONS[name]["text"].encode())


def test_a_chain_part_needs_an_anchor_part() -> None:
    with pytest.raises(ReceiptMalformedError, match=r"receipt\.anchor is null"):
        replace(FINAL, anchor=None)


@pytest.mark.parametrize(
    ("chain", "contract", "outcome", "detail"),
    [
        (LEDGER, None, PASSED, "registered it in block 4711"),
        (LEDGER, CONTRACT, PASSED, "registered it in block 4711"),
        (None, None, NOT_CHECKED, "was not asked"),
        (None, CONTRACT, NOT_CHECKED, "was not asked"),
        (DeadChain(), CONTRACT, NOT_CHECKED, "cannot be reached"),
        (LEDGER, "0x" + "1" * 40, FAILED, "names contract"),
        (None, "0x" + "1" * 40, FAILED, "names contract"),
        (Ledger({}), None, FAILED, "has not registered"),
        (Ledger(LEDGER.roots, contract="0x" + "1" * 40), None, FAILED, "has not registered"),
        (Ledger(LEDGER.roots, number=1), None, FAILED, "this is chain 1"),
        (Ledger(dict.fromkeys(LEDGER.roots, 1)), None, FAILED, "was registered in block 1, not 4711"),
    ],
)
def test_the_chain_step(chain: Ledger | DeadChain | None, contract: str | None, outcome: Outcome, detail: str) -> None:
    verification = verify(FINAL, chain, contract=contract)
    assert outcomes(verification) == [PASSED, PASSED, outcome]
    assert detail in verification.steps[2].detail
    assert verification.valid is (outcome is not FAILED)
    assert verification.on_chain is (outcome is PASSED)


def test_receipts_with_impossible_parts_fail_instead_of_raising() -> None:
    for product in (ProductPart(b"short", {}), ProductPart(bytes(16), {"Not a key": "x"})):
        assert outcomes(verify(replace(FINAL, product=product)))[0] is FAILED
    for size in (-1, 1 << 64):
        assert outcomes(verify(replace(FINAL, batch=replace(FINAL.batch, size=size))))[:2] == [FAILED, FAILED]
    assert outcomes(verify(replace(FINAL, batch_id=b"")))[:2] == [FAILED, FAILED]


def tree_of(leaf: bytes, index: int, levels: int) -> TreePart:
    """Place a leaf in a tree of 2^levels leaves of which only the siblings are known."""
    node, path = leaf, []
    for level in range(levels):
        sibling = merkle.leaf_hash(bytes([level]))
        path.append(sibling)
        node = merkle.node_hash(sibling, node) if index >> level & 1 else merkle.node_hash(node, sibling)
    return TreePart(index, 1 << levels, tuple(path), node)


def test_a_proof_in_a_million_by_a_million_takes_at_most_2_kib() -> None:
    batch_id, product_id, index = bytes(16), b"p" * 16, 987_654
    digest = canonical.attributes_digest(b"{}")
    batch = tree_of(merkle.leaf_hash(canonical.product_leaf(batch_id, index, product_id, digest)), index, 20)
    anchor_data = canonical.anchor_leaf(canonical.SubjectKind.BATCH, batch_id, batch.size, batch.root)
    anchor = tree_of(merkle.leaf_hash(anchor_data), 123_456, 20)
    chain = ChainPart(chain_id=1, contract=CONTRACT, transaction="0x" + "f" * 64, block_number=25_000_000)
    receipt = Receipt(ProductPart(product_id, {}), batch_id, batch, anchor, chain)
    text = receipt.to_json()
    assert verify(Receipt.from_json(text), Ledger({anchor.root: 25_000_000}, number=1)).on_chain
    document = json.loads(text)
    proof = {part: document[part]["path"] for part in ("batch", "anchor")}
    assert len(json.dumps(proof, separators=(",", ":"))) <= 2048
    assert len(text) <= 2600
