"""Inclusion proofs of submissions in their anchored trees."""

from anchor.store import Store
from anchor.submission import Anchor, Proof
from trust.tiles import inclusion_path_from_tiles, tiles_needed


class Proofs:
    """Makes proofs from tiles: a handful of rows, whatever the size of the tree."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def of(self, anchor: Anchor) -> Proof | None:
        """The proof of an anchor; None before its window closed."""
        leaf = anchor.leaf
        if leaf is None:
            return None
        root, size = await self._store.tree(leaf.tree_id)
        tiles = await self._store.tiles(leaf.tree_id, tiles_needed(leaf.index, size))
        path = inclusion_path_from_tiles(leaf.index, size, lambda level, number: tiles[level, number])
        return Proof(leaf.index, size, tuple(path), root)
