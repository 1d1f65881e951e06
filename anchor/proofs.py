"""Inclusion proofs of submissions in their anchored trees."""

from anchor.store import Store
from anchor.submission import Anchor, Proof, Submission
from trust.canonical import anchor_leaf
from trust.merkle import leaf_hash, verify_inclusion
from trust.tiles import inclusion_path_from_tiles, tiles_needed


def proves(proof: Proof, submission: Submission) -> bool:
    """Whether a proof leads from a submission's leaf to the proof's root (RFC 9162, section 2.1.3.2)."""
    data = anchor_leaf(submission.kind, submission.subject_id.bytes, submission.size, submission.root)
    return verify_inclusion(leaf_hash(data), proof.index, proof.size, proof.path, proof.anchor_root)


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
