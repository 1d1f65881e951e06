"""Merkle trees of RFC 9162 section 2.1 with SHA-256: roots, inclusion proofs, consistency proofs.

A leaf is ``SHA-256(0x00 || data)``, a node ``SHA-256(0x01 || left || right)``. An odd node is promoted to the
next level and never duplicated. All hashes are 32 bytes, all indexes count from 0.

A root does not bind the size of its tree: in trees of 5 and of 8 leaves, say, leaf 0 has a path of one shape.
Whoever checks a proof takes the size from where the root came from, as the anchor leaf gives both.
"""

from collections.abc import Sequence
from hashlib import sha256
from hmac import compare_digest

HASH_BYTES = 32
EMPTY_ROOT = sha256(b"").digest()


def leaf_hash(data: bytes) -> bytes:
    """Hash a leaf's data of any length."""
    return sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Hash two children into their parent."""
    return sha256(b"\x01" + left + right).digest()


def root(leaf_hashes: Sequence[bytes]) -> bytes:
    """Give the root of the tree over these leaf hashes; of no leaves it is SHA-256 of nothing."""
    level = leaf_hashes
    while len(level) > 1:
        level = _parents(level)
    return level[0] if level else EMPTY_ROOT


def inclusion_path(leaf_hashes: Sequence[bytes], index: int) -> list[bytes]:
    """Give the siblings from leaf `index` up to the root (RFC 9162 2.1.3.1).

    Raises IndexError if there is no such leaf.
    """
    if not 0 <= index < len(leaf_hashes):
        raise IndexError(f"no leaf {index} in a tree of {len(leaf_hashes)}")
    path: list[bytes] = []
    level = leaf_hashes
    while len(level) > 1:
        if index ^ 1 < len(level):
            path.append(level[index ^ 1])
        level = _parents(level)
        index >>= 1
    return path


def verify_inclusion(leaf: bytes, index: int, size: int, path: Sequence[bytes], root: bytes) -> bool:
    """Check that the leaf hash `leaf` is at `index` in the tree of `size` and `root` (RFC 9162 2.1.3.2)."""
    if not 0 <= index < size or not _are_hashes(leaf, root, *path):
        return False
    node, place, last = leaf, index, size - 1
    for sibling in path:
        if last == 0:
            return False
        if place & 1 or place == last:
            node = node_hash(sibling, node)
            skip = _promotions(place)
            place, last = place >> skip, last >> skip
        else:
            node = node_hash(node, sibling)
        place, last = place >> 1, last >> 1
    return last == 0 and compare_digest(node, root)


def consistency_path(leaf_hashes: Sequence[bytes], old: int, new: int) -> list[bytes]:
    """Prove that the tree of `old` leaves is a prefix of the one of `new` leaves (RFC 9162 2.1.4.1).

    Empty if `old` is 0 or equals `new`. Raises IndexError unless 0 <= old <= new <= number of leaves.
    """
    if not 0 <= old <= new <= len(leaf_hashes):
        raise IndexError(f"no sizes {old} and {new} of a tree of {len(leaf_hashes)}")
    if old in (0, new):
        return []
    level = leaf_hashes[:new]
    place, last = old - 1, new - 1
    # The largest complete subtree that ends with the old tree: where both trees' ways up begin.
    while place & 1:
        level = _parents(level)
        place, last = place >> 1, last >> 1
    path = [level[place]] if place else []
    while last:
        if place & 1:
            path.append(level[place - 1])
        elif place < last:
            path.append(level[place + 1])
        level = _parents(level)
        place, last = place >> 1, last >> 1
    return path


def verify_consistency(old: int, new: int, old_root: bytes, new_root: bytes, path: Sequence[bytes]) -> bool:
    """Check that the tree of size `old` is a prefix of the one of size `new` (RFC 9162 2.1.4.2).

    The empty tree is a prefix of every tree, with an empty path and its own root `EMPTY_ROOT`.
    """
    if not 0 <= old <= new or not _are_hashes(old_root, new_root, *path):
        return False
    if old == new:
        return not path and compare_digest(old_root, new_root)
    if old == 0:
        return not path and compare_digest(old_root, EMPTY_ROOT)
    # A complete old tree is itself the first node and is left out of the path.
    nodes = list(path) if old & (old - 1) else [old_root, *path]
    return bool(nodes) and _joins(old, new, old_root, new_root, nodes)


def _joins(old: int, new: int, old_root: bytes, new_root: bytes, nodes: Sequence[bytes]) -> bool:
    place, last = old - 1, new - 1
    while place & 1:
        place, last = place >> 1, last >> 1
    old_node = new_node = nodes[0]
    for sibling in nodes[1:]:
        if last == 0:
            return False
        if place & 1 or place == last:
            old_node = node_hash(sibling, old_node)
            new_node = node_hash(sibling, new_node)
            skip = _promotions(place)
            place, last = place >> skip, last >> skip
        else:
            new_node = node_hash(new_node, sibling)
        place, last = place >> 1, last >> 1
    return last == 0 and compare_digest(old_node, old_root) and compare_digest(new_node, new_root)


def _parents(level: Sequence[bytes]) -> list[bytes]:
    children = iter(level)
    parents = [sha256(b"\x01" + left + right).digest() for left, right in zip(children, children, strict=False)]
    if len(level) & 1:
        parents.append(level[-1])
    return parents


def _promotions(place: int) -> int:
    """Count the levels a node at the right edge rises without a sibling: its trailing zero bits."""
    return (place & -place).bit_length() - 1 if place else 0


def _are_hashes(*values: bytes) -> bool:
    return all(len(value) == HASH_BYTES for value in values)
