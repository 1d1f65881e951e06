"""A receipt as calls of the contract: for other contracts, and for whoever has a node and nothing else.

The calldata is that of the Solidity ABI for ``verify(bytes32 leaf, uint64 index, uint64 size, bytes32[] path, bytes32
root)`` and ``blockOf(bytes32 root)`` of the AnchorRegistry (docs/anchoring.md).
"""

from dataclasses import dataclass

from trust import canonical, merkle
from trust.receipt import Receipt, ReceiptMalformedError, TreePart
from trust.rpc import BLOCK_OF

__all__ = ["VERIFY", "Call", "calls"]

# First four bytes of keccak256("verify(bytes32,uint64,uint64,bytes32[],bytes32)").
VERIFY = bytes.fromhex("3fe181c2")
_WORD = 32
_PATH_OFFSET = 5 * _WORD


@dataclass(frozen=True, slots=True)
class Call:
    """A call of the contract, and the number that it returns for a true receipt: 1, or the block."""

    step: str
    data: bytes
    expected: int


def calls(receipt: Receipt) -> tuple[Call, ...]:
    """The calls that check a receipt on the chain, in the order of its steps; fewer while it is pending.

    The receipt's contract answers them; `verify` there is pure, so that any AnchorRegistry will do for the first two.
    Raises ReceiptMalformedError if a part has no canonical form.
    """
    try:
        found = [Call("product_in_batch", _verify(_product_leaf(receipt), receipt.batch), 1)]
        if receipt.anchor is not None:
            found.append(Call("batch_in_anchor", _verify(_batch_leaf(receipt), receipt.anchor), 1))
    except (ValueError, OverflowError) as error:
        raise ReceiptMalformedError("receipt", f"has no canonical form: {error}") from None
    if receipt.anchor is not None and receipt.chain is not None:
        found.append(Call("anchor_on_chain", BLOCK_OF + receipt.anchor.root, receipt.chain.block_number))
    return tuple(found)


def _product_leaf(receipt: Receipt) -> bytes:
    digest = canonical.attributes_digest(canonical.attributes_bytes(receipt.product.attributes))
    return canonical.product_leaf(receipt.batch_id, receipt.batch.index, receipt.product.id, digest)


def _batch_leaf(receipt: Receipt) -> bytes:
    batch = receipt.batch
    return canonical.anchor_leaf(canonical.SubjectKind.BATCH, receipt.batch_id, batch.size, batch.root)


def _verify(leaf_data: bytes, tree: TreePart) -> bytes:
    head = merkle.leaf_hash(leaf_data) + _word(tree.index) + _word(tree.size) + _word(_PATH_OFFSET) + tree.root
    return VERIFY + head + _word(len(tree.path)) + b"".join(tree.path)


def _word(number: int) -> bytes:
    return number.to_bytes(_WORD, "big")
