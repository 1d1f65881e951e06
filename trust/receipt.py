"""The receipt: one JSON document that leads from a product to a block of a chain, checked by anyone, offline.

product leaf -> batch root -> anchor root -> contract. The text is RFC 8785 JSON (sorted keys, no spaces), and a
text that is not its own canonical form is refused, so that two verifiers never read one text differently::

    {"anchor": {"index", "path", "root", "size"} | null,
     "batch": {"id", "index", "path", "root", "size"},
     "chain": {"block_number", "chain_id", "contract", "kind": "evm", "transaction"} | null,
     "product": {"attributes": {...}, "id"}, "state": "PENDING" | "FINAL", "type": "voketag.receipt/v1"}

Hashes are base64url without padding (43 characters), ids are UUIDs in lower case, numbers are whole and below
2^53. A receipt is FINAL exactly when it names its place on a chain. One of an anchor that others have too besides that
chain has "type": "voketag.receipt/v2" and a list "evidence", each like "chain", or
{"kind": "rfc3161", "response": a TimeStampResp in base64url}.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Self
from uuid import UUID

from trust import canonical, merkle
from trust.chain import ChainReader, ChainUnreachableError
from trust.document import MAX_EVIDENCE, Fields, ReceiptMalformedError, blob_text, canonical_json, hash_text, parse
from trust.stamp import AuthorityUnknownError, StampChecker, StampInvalidError

__all__ = [
    "TYPE",
    "TYPE_WITH_EVIDENCE",
    "ChainPart",
    "ChainReader",
    "Outcome",
    "ProductPart",
    "Receipt",
    "ReceiptMalformedError",
    "ReceiptState",
    "StampPart",
    "Step",
    "TreePart",
    "Verification",
    "verify",
]

TYPE = "voketag.receipt/v1"
TYPE_WITH_EVIDENCE = "voketag.receipt/v2"

_RECEIPT = frozenset({"anchor", "batch", "chain", "product", "state", "type"})
_PRODUCT = frozenset({"attributes", "id"})
_TREE = frozenset({"index", "path", "root", "size"})
_BATCH = _TREE | {"id"}
_CHAIN = frozenset({"block_number", "chain_id", "contract", "kind", "transaction"})
_STAMP = frozenset({"kind", "response"})

_TYPE_TEXT = re.compile(f"{re.escape(TYPE)}|{re.escape(TYPE_WITH_EVIDENCE)}")
_STATE_TEXT = re.compile("PENDING|FINAL")
_KIND_TEXT = re.compile("evm")
_CONTRACT_TEXT = re.compile("0x[0-9a-f]{40}")
_TRANSACTION_TEXT = re.compile("0x[0-9a-f]{64}")


class ReceiptState(Enum):
    """Whether the receipt reaches a chain yet."""

    PENDING = "PENDING"
    FINAL = "FINAL"


class Outcome(Enum):
    """What came of one step; NOT_CHECKED is neither good nor bad, and its detail says why."""

    PASSED = "PASSED"
    FAILED = "FAILED"
    NOT_CHECKED = "NOT_CHECKED"


@dataclass(frozen=True, slots=True)
class ProductPart:
    """The product: id of 16 bytes, and its attributes as `canonical.attributes_bytes` takes them."""

    id: bytes
    attributes: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class TreePart:
    """A place in a tree: index from 0, number of leaves, path of hashes from leaf to root, root hash."""

    index: int
    size: int
    path: tuple[bytes, ...]
    root: bytes


@dataclass(frozen=True, slots=True)
class ChainPart:
    """A place on an EVM chain: contract (0x and 40 lower-case hex digits), block, transaction (0x and 64).

    The contract binds root and block; the transaction is a pointer for people and is proved by nothing here.
    """

    chain_id: int
    contract: str
    transaction: str
    block_number: int


@dataclass(frozen=True, slots=True)
class StampPart:
    """A time stamp (RFC 3161) over the 32 bytes of the anchor root: the authority's TimeStampResp in DER."""

    response: bytes


@dataclass(frozen=True, slots=True)
class Receipt:
    """What is claimed of one product; nothing of it is true until `verify` says so.

    `evidence` is what others than the chain have of the anchor root, at most 8. Raises ReceiptMalformedError if there
    is a chain part without an anchor part, or evidence without a chain part.
    """

    product: ProductPart
    batch_id: bytes
    batch: TreePart
    anchor: TreePart | None = None
    chain: ChainPart | None = None
    evidence: tuple[ChainPart | StampPart, ...] = ()

    def __post_init__(self) -> None:
        if len(self.evidence) > (MAX_EVIDENCE if self.chain else 0):
            raise ReceiptMalformedError("receipt.evidence", f"is without a chain, or more than {MAX_EVIDENCE}")
        if self.chain is not None and self.anchor is None:
            raise ReceiptMalformedError("receipt.anchor", "is null, but the receipt names a chain")

    @property
    def state(self) -> ReceiptState:
        """FINAL if the receipt names its place on a chain, else PENDING."""
        return ReceiptState.FINAL if self.chain else ReceiptState.PENDING

    def to_json(self) -> bytes:
        """Write the canonical document."""
        more = {"evidence": [_evidence_fields(part) for part in self.evidence]} if self.evidence else {}
        return canonical_json(
            {
                **more,
                "anchor": self.anchor and _tree_fields(self.anchor),
                "batch": {"id": str(UUID(bytes=self.batch_id)), **_tree_fields(self.batch)},
                "chain": self.chain and _evidence_fields(self.chain),
                "product": {
                    "attributes": dict(self.product.attributes),
                    "id": str(UUID(bytes=self.product.id)),
                },
                "state": self.state.value,
                "type": TYPE_WITH_EVIDENCE if self.evidence else TYPE,
            }
        )

    @classmethod
    def from_json(cls, text: bytes) -> Self:
        """Read a document of at most 64 KiB; white space around it is ignored.

        Raises ReceiptMalformedError, saying where, on anything but the canonical form of a receipt.
        """
        document = parse(text)
        more = isinstance(document, dict) and document.get("type") == TYPE_WITH_EVIDENCE
        fields = Fields(document, "receipt", _RECEIPT | {"evidence"} if more else _RECEIPT)
        fields.text("type", _TYPE_TEXT)
        batch, anchor = fields.child("batch", _BATCH), fields.optional("anchor", _TREE)
        receipt = cls(
            product=_product(fields.child("product", _PRODUCT)),
            batch_id=batch.uuid("id"),
            batch=_tree(batch),
            anchor=_tree(anchor) if anchor else None,
            chain=_chain(fields.optional("chain", _CHAIN)),
            evidence=tuple([_evidence(*item) for item in fields.children("evidence")]) if more else (),
        )
        if fields.text("state", _STATE_TEXT) != receipt.state.value:
            raise ReceiptMalformedError("receipt.state", f"is not {receipt.state.value}, which the chain part says")
        if receipt.to_json() != text.strip(b" \t\r\n"):
            raise ReceiptMalformedError("receipt", "is not in canonical form (sorted keys, no spaces or escapes)")
        return receipt


@dataclass(frozen=True, slots=True)
class Step:
    """One link of the proof: its name, what came of it, and a sentence for people."""

    name: str
    outcome: Outcome
    detail: str


@dataclass(frozen=True, slots=True)
class Verification:
    """What `verify` found: always the steps product_in_batch, batch_in_anchor and anchor_on_chain, in order.

    A step evidence_1 and so on follows for each further piece of evidence; one that FAILED makes the receipt invalid.

    | receipt                                 | valid | pending | on_chain               |
    |-----------------------------------------|-------|---------|------------------------|
    | a step FAILED                           | False | as is   | False                  |
    | no anchor part yet                      | False | True    | False                  |
    | anchor part, no chain part yet          | True  | True    | False                  |
    | whole, no chain asked or reached        | True  | False   | False                  |
    | whole, found in the contract            | True  | False   | True                   |

    `valid` without `on_chain` says that the receipt agrees with itself: anyone could have made such a one. Only
    `on_chain`, in a contract known to be VokeTag's, ties it to VokeTag and to a time.
    """

    steps: tuple[Step, ...]
    pending: bool

    @property
    def valid(self) -> bool:
        """Whether no step failed and both Merkle steps passed."""
        proofs = all(step.outcome is Outcome.PASSED for step in self.steps[:2])
        return proofs and not self.failed

    @property
    def failed(self) -> bool:
        """Whether any step failed: the receipt claims something untrue."""
        return any(step.outcome is Outcome.FAILED for step in self.steps)

    @property
    def on_chain(self) -> bool:
        """Whether the whole way to the contract was checked and is true."""
        return all(step.outcome is Outcome.PASSED for step in self.steps[:3]) and not self.failed


def verify(
    receipt: Receipt,
    chain: ChainReader | None = None,
    *,
    contract: str | None = None,
    others: Sequence[ChainReader] = (),
    stamps: StampChecker | None = None,
) -> Verification:
    """Check a receipt link by link; every link is tried, whatever came of those before.

    With `chain` the anchor root is looked up in the receipt's contract; if the chain cannot be reached the step is
    NOT_CHECKED. `contract` is the address the caller knows to be VokeTag's: a receipt naming another fails, and
    without it a found root proves only that someone registered it in the contract the receipt names. `others` are asked
    for evidence on further chains, `stamps` for time stamps; evidence that none of them knows is NOT_CHECKED.
    """
    root = receipt.anchor.root if receipt.anchor else b""
    readers = [*([chain] if chain else []), *others]
    steps = (
        Step("product_in_batch", *_product_in_batch(receipt)),
        Step("batch_in_anchor", *_batch_in_anchor(receipt)),
        Step("anchor_on_chain", *_anchor_on_chain(receipt, chain, contract)),
        *(
            Step(f"evidence_{number}", *_evidence_holds(part, root, readers, stamps))
            for number, part in enumerate(receipt.evidence, 1)
        ),
    )
    return Verification(steps, receipt.state is ReceiptState.PENDING)


def _product_in_batch(receipt: Receipt) -> tuple[Outcome, str]:
    try:
        digest = canonical.attributes_digest(canonical.attributes_bytes(receipt.product.attributes))
        data = canonical.product_leaf(receipt.batch_id, receipt.batch.index, receipt.product.id, digest)
    except ValueError as error:
        return Outcome.FAILED, f"the product has no canonical form: {error}"
    place = f"product {receipt.batch.index} of {receipt.batch.size} in the batch"
    return _included(data, receipt.batch, place)


def _batch_in_anchor(receipt: Receipt) -> tuple[Outcome, str]:
    if receipt.anchor is None:
        return Outcome.NOT_CHECKED, "the batch is not in an anchor tree yet"
    kind, batch = canonical.SubjectKind.BATCH, receipt.batch
    try:
        data = canonical.anchor_leaf(kind, receipt.batch_id, batch.size, batch.root)
    except ValueError as error:
        return Outcome.FAILED, f"the batch has no canonical form: {error}"
    return _included(data, receipt.anchor, f"batch {receipt.anchor.index} of {receipt.anchor.size} in the anchor tree")


def _included(data: bytes, tree: TreePart, place: str) -> tuple[Outcome, str]:
    if merkle.verify_inclusion(merkle.leaf_hash(data), tree.index, tree.size, tree.path, tree.root):
        return Outcome.PASSED, f"it is {place}"
    return Outcome.FAILED, f"it is not {place}: the path does not lead to the root"


def _anchor_on_chain(receipt: Receipt, chain: ChainReader | None, contract: str | None) -> tuple[Outcome, str]:
    part = receipt.chain
    if part is None or receipt.anchor is None:
        return Outcome.NOT_CHECKED, "the anchor is not on a chain yet"
    if contract is not None and contract.lower() != part.contract:
        return Outcome.FAILED, f"the receipt names contract {part.contract}, not {contract.lower()}"
    if chain is None:
        return Outcome.NOT_CHECKED, f"contract {part.contract} of chain {part.chain_id} was not asked"
    try:
        if (chain_id := chain.chain_id()) != part.chain_id:
            return Outcome.FAILED, f"the receipt names chain {part.chain_id}, and this is chain {chain_id}"
        return _registered(part, receipt.anchor.root, chain)
    except ChainUnreachableError as error:
        return Outcome.NOT_CHECKED, str(error)


def _evidence_holds(
    part: ChainPart | StampPart, root: bytes, readers: Sequence[ChainReader], stamps: StampChecker | None
) -> tuple[Outcome, str]:
    if isinstance(part, ChainPart):
        try:
            for reader in readers:
                if reader.chain_id() == part.chain_id:
                    return _registered(part, root, reader)
        except ChainUnreachableError as error:
            return Outcome.NOT_CHECKED, str(error)
        return Outcome.NOT_CHECKED, f"contract {part.contract} of chain {part.chain_id} was not asked"
    if stamps is None:
        return Outcome.NOT_CHECKED, "a time stamp, which needs its authority's certificate to be checked"
    try:
        time = stamps.check(part.response, root)
    except AuthorityUnknownError as error:
        return Outcome.NOT_CHECKED, f"a time stamp by an authority that is not known here: {error}"
    except StampInvalidError as error:
        return Outcome.FAILED, f"the time stamp does not hold: {error}"
    return Outcome.PASSED, f"a time-stamp authority had the anchor root at {time.isoformat()}"


def _registered(part: ChainPart, root: bytes, chain: ChainReader) -> tuple[Outcome, str]:
    block = chain.block_of(part.contract, root)
    if block is None:
        return Outcome.FAILED, f"contract {part.contract} has not registered the anchor root"
    if block != part.block_number:
        return Outcome.FAILED, f"the root was registered in block {block}, not {part.block_number}"
    return Outcome.PASSED, f"contract {part.contract} of chain {part.chain_id} registered it in block {block}"


def _product(fields: Fields) -> ProductPart:
    attributes = fields.raw("attributes")
    try:
        canonical.attributes_bytes(attributes)
    except canonical.AttributesError as error:
        raise ReceiptMalformedError("receipt.product.attributes", f"is not canonical: {error}") from None
    return ProductPart(fields.uuid("id"), attributes)


def _tree(fields: Fields) -> TreePart:
    return TreePart(fields.number("index"), fields.number("size"), fields.hashes("path"), fields.hash("root"))


def _tree_fields(tree: TreePart) -> dict[str, Any]:
    path = [hash_text(sibling) for sibling in tree.path]
    return {"index": tree.index, "path": path, "root": hash_text(tree.root), "size": tree.size}


def _evidence(item: object, where: str) -> ChainPart | StampPart:
    if isinstance(item, dict) and item.get("kind") == "rfc3161":
        return StampPart(Fields(item, where, _STAMP).blob("response"))
    return _place(Fields(item, where, _CHAIN))


def _evidence_fields(part: ChainPart | StampPart) -> dict[str, Any]:
    if isinstance(part, StampPart):
        return {"kind": "rfc3161", "response": blob_text(part.response)}
    return {
        "block_number": part.block_number,
        "chain_id": part.chain_id,
        "contract": part.contract,
        "kind": "evm",
        "transaction": part.transaction,
    }


def _chain(fields: Fields | None) -> ChainPart | None:
    return _place(fields) if fields else None


def _place(fields: Fields) -> ChainPart:
    fields.text("kind", _KIND_TEXT)
    return ChainPart(
        chain_id=fields.number("chain_id"),
        contract=fields.text("contract", _CONTRACT_TEXT),
        transaction=fields.text("transaction", _TRANSACTION_TEXT),
        block_number=fields.number("block_number"),
    )
