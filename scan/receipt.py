"""Receipts: a product's place in its batch, the batch's in an anchored tree, and that tree's on the chain."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from uuid import UUID

from mesh.errors import DependencyUnavailable, ProductNotFound, ReceiptNotReady
from scan.card import Card, CardsAwayError, Found
from scan.proof import Proofs
from trust import calls
from trust.receipt import ProductPart, Receipt, TreePart, verify
from trust.tiles import Tile, inclusion_path_from_tiles


@dataclass(frozen=True, slots=True)
class Tree:
    """A batch's tree as far as the path of one product needs it."""

    root: bytes
    size: int
    tiles: tuple[Tile, ...]


ReadTree = Callable[[UUID], Awaitable[Tree | None]]
"""Reads the tree around a product; None until it is built. Raises DependencyUnavailable."""


FindCard = Callable[[bytes], Awaitable[Found]]
"""Finds the card of a product, by id of 16 bytes. Raises CardsAwayError."""


class ReceiptUnsoundError(Exception):
    """What the factory and the anchor service say does not make a receipt that verifies: a mistake of ours."""


class Receipts:
    """Writes receipts, and hands out none that its holder would find wrong."""

    def __init__(self, find_card: FindCard, read_tree: ReadTree, proofs: Proofs) -> None:
        self._find_card = find_card
        self._read_tree = read_tree
        self._proofs = proofs

    async def card(self, product_id: UUID, factory_id: UUID | None) -> Card:
        """The card of a factory's product; None means anybody's. Raises ProductNotFound, DependencyUnavailable."""
        try:
            card = (await self._find_card(product_id.bytes)).card
        except CardsAwayError as error:
            raise DependencyUnavailable(dependency="PostgreSQL") from error
        if card is None or factory_id not in (None, card.factory_id):
            raise ProductNotFound
        return card

    async def write(self, card: Card) -> bytes:
        """The receipt of a product as canonical JSON, PENDING until the batch's anchor is final.

        Raises ReceiptNotReady, DependencyUnavailable; ReceiptUnsoundError, which leaves as INTERNAL.
        """
        return (await self._made(card)).to_json()

    async def calls(self, card: Card) -> bytes:
        """The same as calls of the contract, in JSON. Raises as `write`, and ReceiptNotReady while it is PENDING."""
        try:
            return calls.to_json(await self._made(card))
        except calls.ReceiptPendingError as error:
            raise ReceiptNotReady from error

    async def _made(self, card: Card) -> Receipt:
        tree = await self._read_tree(card.product_id)
        if tree is None:
            raise ReceiptNotReady
        proof = await self._proofs.find(card.batch_id)
        receipt = Receipt(
            product=ProductPart(card.product_id.bytes, card.attributes),
            batch_id=card.raw_batch_id,
            batch=TreePart(card.index, tree.size, _path(card, tree), tree.root),
            anchor=proof.anchor if proof else None,
            chain=proof.chain if proof else None,
            evidence=proof.evidence if proof else (),
        )
        verification = verify(receipt)
        if verification.failed:
            raise ReceiptUnsoundError(f"{card.product_id}: {verification}")
        return receipt


def _path(card: Card, tree: Tree) -> tuple[bytes, ...]:
    tiles = {(tile.level, tile.index): tile.hashes for tile in tree.tiles}
    try:
        return tuple(inclusion_path_from_tiles(card.index, tree.size, lambda level, index: tiles[level, index]))
    except (LookupError, ValueError) as error:
        raise ReceiptUnsoundError(f"{card.product_id}: the batch's tiles do not reach it: {error}") from error
