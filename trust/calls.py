"""A receipt as calls of the contract: for other contracts, and for whoever has a node and nothing else.

The calldata is that of the Solidity ABI for ``verify(bytes32 leaf, uint64 index, uint64 size, bytes32[] path, bytes32
root)`` and ``blockOf(bytes32 root)`` of the AnchorRegistry (docs/anchoring.md).
"""

import json
from dataclasses import dataclass

from trust import canonical, merkle
from trust.receipt import Receipt, ReceiptMalformedError, TreePart
from trust.rpc import BLOCK_OF

__all__ = ["VERIFY", "Argument", "Call", "ReceiptPendingError", "calls", "to_json"]

Argument = str | int | list[str]
"""An argument as libraries for the ABI take it: a bytes32 is 0x and 64 hex digits."""

# First four bytes of keccak256("verify(bytes32,uint64,uint64,bytes32[],bytes32)").
VERIFY = bytes.fromhex("3fe181c2")
_WORD = 32
_PATH_OFFSET = 5 * _WORD


class ReceiptPendingError(ValueError):
    """The receipt names no contract yet."""


@dataclass(frozen=True, slots=True)
class Call:
    """A call of the contract, and the number that it returns for a true receipt: 1, or the block.

    `data` is the calldata: the selector of `function`, as the ABI writes its signature, and `arguments` encoded.
    """

    step: str
    data: bytes
    expected: int
    function: str
    arguments: tuple[Argument, ...]


def to_json(receipt: Receipt) -> bytes:
    """Write the calls of a final receipt, for people and programs (docs/encodings.md, "On the chain").

    Raises ReceiptMalformedError if a part has no canonical form, ReceiptPendingError.
    """
    if receipt.chain is None:
        raise ReceiptPendingError("the receipt is not anchored yet")
    document = {
        "chain_id": receipt.chain.chain_id,
        "to": receipt.chain.contract,
        "calls": [
            {
                "step": call.step,
                "function": call.function,
                "arguments": call.arguments,
                "data": _hex(call.data),
                "returns": call.expected,
            }
            for call in calls(receipt)
        ],
    }
    return json.dumps(document, indent=2).encode()


def calls(receipt: Receipt) -> tuple[Call, ...]:
    """The calls that check a receipt on the chain, in the order of its steps; fewer while it is pending.

    The receipt's contract answers them; `verify` there is pure, so that any AnchorRegistry will do for the first two.
    Raises ReceiptMalformedError if a part has no canonical form.
    """
    try:
        found = [_verify("product_in_batch", _product_leaf(receipt), receipt.batch)]
        if receipt.anchor is not None:
            found.append(_verify("batch_in_anchor", _batch_leaf(receipt), receipt.anchor))
    except (ValueError, OverflowError) as error:
        raise ReceiptMalformedError("receipt", f"has no canonical form: {error}") from None
    if receipt.anchor is not None and receipt.chain is not None:
        root, block = receipt.anchor.root, receipt.chain.block_number
        found.append(Call("anchor_on_chain", BLOCK_OF + root, block, "blockOf(bytes32)", (_hex(root),)))
    return tuple(found)


def _product_leaf(receipt: Receipt) -> bytes:
    digest = canonical.attributes_digest(canonical.attributes_bytes(receipt.product.attributes))
    return canonical.product_leaf(receipt.batch_id, receipt.batch.index, receipt.product.id, digest)


def _batch_leaf(receipt: Receipt) -> bytes:
    batch = receipt.batch
    return canonical.anchor_leaf(canonical.SubjectKind.BATCH, receipt.batch_id, batch.size, batch.root)


def _verify(step: str, leaf_data: bytes, tree: TreePart) -> Call:
    leaf = merkle.leaf_hash(leaf_data)
    head = leaf + _word(tree.index) + _word(tree.size) + _word(_PATH_OFFSET) + tree.root
    data = VERIFY + head + _word(len(tree.path)) + b"".join(tree.path)
    arguments = (_hex(leaf), tree.index, tree.size, [_hex(sibling) for sibling in tree.path], _hex(tree.root))
    return Call(step, data, 1, "verify(bytes32,uint64,uint64,bytes32[],bytes32)", arguments)


def _word(number: int) -> bytes:
    return number.to_bytes(_WORD, "big")


def _hex(value: bytes) -> str:
    return "0x" + value.hex()
