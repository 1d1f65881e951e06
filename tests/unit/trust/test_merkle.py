from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.trust.vectors import hashes, load
from trust import merkle

RFC = load("rfc9162")
SIZES = load("merkle_sizes")["trees"]
RFC_LEAVES = [merkle.leaf_hash(data) for data in hashes(RFC["leaves"])]
LEAVES = [merkle.leaf_hash(number.to_bytes(8, "big")) for number in range(65537)]

small = st.integers(1, 200)


def flip(value: bytes, bit: int) -> bytes:
    return value[: bit // 8] + bytes([value[bit // 8] ^ 1 << bit % 8]) + value[bit // 8 + 1 :]


def sides(index: int, size: int) -> str:
    """Spell the way from a leaf to the root as a verifier sees it: L or R for each sibling's side."""
    if size == 1:
        return ""
    left = 1 << (size - 1).bit_length() - 1
    return sides(index, left) + "R" if index < left else sides(index - left, size - left) + "L"


@pytest.mark.parametrize("size", range(9))
def test_published_roots(size: int) -> None:
    assert merkle.root(RFC_LEAVES[:size]).hex() == RFC["roots"][size]


def test_published_nodes() -> None:
    levels = [hashes(level) for level in RFC["levels"]]
    assert levels[0] == RFC_LEAVES
    for lower, upper in pairwise(levels):
        assert [merkle.node_hash(*lower[i : i + 2]) for i in range(0, len(lower), 2)] == upper


@pytest.mark.parametrize("proof", RFC["inclusion"], ids=lambda proof: f"{proof['index']}-of-{proof['size']}")
def test_published_inclusion_proofs(proof: dict[str, Any]) -> None:
    index, size, path = proof["index"], proof["size"], hashes(proof["path"])
    assert merkle.inclusion_path(RFC_LEAVES[:size], index) == path
    assert merkle.verify_inclusion(RFC_LEAVES[index], index, size, path, bytes.fromhex(RFC["roots"][size]))


@pytest.mark.parametrize("proof", RFC["consistency"], ids=lambda proof: f"{proof['old']}-to-{proof['new']}")
def test_published_consistency_proofs(proof: dict[str, Any]) -> None:
    old, new, path = proof["old"], proof["new"], hashes(proof["path"])
    roots = hashes(RFC["roots"])
    assert merkle.consistency_path(RFC_LEAVES, old, new) == path
    assert merkle.verify_consistency(old, new, roots[old], roots[new], path)


@pytest.mark.parametrize("tree", SIZES, ids=lambda tree: tree["size"])
def test_sizes_around_powers_of_two(tree: dict[str, Any]) -> None:
    size, root = tree["size"], bytes.fromhex(tree["root"])
    leaves = LEAVES[:size]
    assert merkle.root(leaves) == root
    for proof in tree["inclusion"]:
        index, path = proof["index"], hashes(proof["path"])
        assert merkle.inclusion_path(leaves, index) == path
        assert merkle.verify_inclusion(leaves[index], index, size, path, root)
    for proof in tree["consistency"]:
        old, path = proof["old"], hashes(proof["path"])
        assert merkle.consistency_path(leaves, old, size) == path
        assert merkle.verify_consistency(old, size, merkle.root(leaves[:old]), root, path)


@pytest.mark.parametrize("size", range(1, 34))
def test_a_proof_verifies_for_its_own_leaf_index_and_shape_only(size: int) -> None:
    leaves = LEAVES[:size]
    root = merkle.root(leaves)
    for index in range(size):
        path = merkle.inclusion_path(leaves, index)
        for other_size in range(35):
            for other in range(-1, 35):
                # A root does not bind its tree's size: sizes with one shape of path cannot be told apart by it.
                same = 0 <= other < other_size and sides(other, other_size) == sides(index, size)
                assert merkle.verify_inclusion(leaves[index], other, other_size, path, root) is same
                assert not same or other_size != size or other == index
        for leaf in range(size):
            assert merkle.verify_inclusion(leaves[leaf], index, size, path, root) is (leaf == index)


@given(small, st.data())
def test_a_mutated_inclusion_proof_is_refused(size: int, data: st.DataObject) -> None:
    leaves = LEAVES[:size]
    index = data.draw(st.integers(0, size - 1))
    bit = data.draw(st.integers(0, 255))
    path, root = merkle.inclusion_path(leaves, index), merkle.root(leaves)

    def verify(leaf: bytes, path: list[bytes], root: bytes) -> bool:
        return merkle.verify_inclusion(leaf, index, size, path, root)

    assert verify(leaves[index], path, root)
    assert not verify(flip(leaves[index], bit), path, root)
    assert not verify(leaves[index], path, flip(root, bit))
    assert not verify(leaves[index], [*path, root], root)
    assert not verify(leaves[index], [root, *path], root)
    assert not verify(leaves[index], [*path, b""], root)
    for place in range(len(path)):
        assert not verify(leaves[index], [*path[:place], *path[place + 1 :]], root)
        assert not verify(leaves[index], [*path[:place], flip(path[place], bit), *path[place + 1 :]], root)
        assert not verify(leaves[index], [*path[:place], path[place][:31], *path[place + 1 :]], root)


@given(small, st.data())
def test_a_mutated_consistency_proof_is_refused(new: int, data: st.DataObject) -> None:
    old = data.draw(st.integers(1, new))
    bit = data.draw(st.integers(0, 255))
    path = merkle.consistency_path(LEAVES, old, new)
    old_root, new_root = merkle.root(LEAVES[:old]), merkle.root(LEAVES[:new])
    verify = merkle.verify_consistency
    assert verify(old, new, old_root, new_root, path)
    assert not verify(old, new, flip(old_root, bit), new_root, path)
    assert not verify(old, new, old_root, flip(new_root, bit), path)
    assert not verify(old, new, old_root, new_root, [*path, new_root])
    assert not verify(old, new, old_root, new_root, [old_root, *path])
    assert old == new or not verify(old, new, new_root, old_root, path)
    assert old == new or not verify(new, old, new_root, old_root, path)
    for place in range(len(path)):
        assert not verify(old, new, old_root, new_root, [*path[:place], *path[place + 1 :]])
        assert not verify(old, new, old_root, new_root, [*path[:place], flip(path[place], bit), *path[place + 1 :]])


@pytest.mark.parametrize("new", range(2, 34))
def test_a_consistency_proof_does_not_verify_for_another_old_size(new: int) -> None:
    new_root = merkle.root(LEAVES[:new])
    for old in range(1, new):
        path, old_root = merkle.consistency_path(LEAVES, old, new), merkle.root(LEAVES[:old])
        for other in range(new + 1):
            assert merkle.verify_consistency(other, new, old_root, new_root, path) is (other == old)


def test_a_tree_with_its_last_leaf_doubled_has_another_root() -> None:
    assert merkle.root(LEAVES[:3]) != merkle.root([*LEAVES[:3], LEAVES[2]])


def test_a_node_does_not_pass_for_a_leaf() -> None:
    node = merkle.node_hash(*LEAVES[:2])
    assert merkle.leaf_hash(LEAVES[0] + LEAVES[1]) != node
    assert merkle.root([node, merkle.node_hash(*LEAVES[2:4])]) == merkle.root(LEAVES[:4])
    assert not merkle.verify_inclusion(node, 0, 4, [merkle.node_hash(*LEAVES[2:4])], merkle.root(LEAVES[:4]))


def test_the_empty_tree() -> None:
    assert merkle.root([]) == merkle.EMPTY_ROOT
    assert not merkle.verify_inclusion(merkle.EMPTY_ROOT, 0, 0, [], merkle.EMPTY_ROOT)
    assert merkle.consistency_path([], 0, 0) == []
    assert merkle.verify_consistency(0, 0, merkle.EMPTY_ROOT, merkle.EMPTY_ROOT, [])
    assert merkle.verify_consistency(0, 2, merkle.EMPTY_ROOT, merkle.root(LEAVES[:2]), [])
    assert not merkle.verify_consistency(0, 2, merkle.EMPTY_ROOT, merkle.root(LEAVES[:2]), LEAVES[:1])
    assert not merkle.verify_consistency(0, 2, LEAVES[0], merkle.root(LEAVES[:2]), [])


@pytest.mark.parametrize("index", [-1, 3, 4])
def test_no_path_of_a_leaf_that_is_not_there(index: int) -> None:
    with pytest.raises(IndexError):
        merkle.inclusion_path(LEAVES[:3], index)


@pytest.mark.parametrize(("old", "new"), [(-1, 2), (3, 2), (1, 4)])
def test_no_consistency_path_of_sizes_that_are_not_there(old: int, new: int) -> None:
    with pytest.raises(IndexError):
        merkle.consistency_path(LEAVES[:3], old, new)
