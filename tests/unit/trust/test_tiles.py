from collections.abc import Iterable
from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trust import merkle
from trust.tiles import (
    TILE_BYTES,
    Edge,
    Tile,
    TileBuilder,
    consistency_path_from_tiles,
    consistency_tiles_needed,
    inclusion_path_from_tiles,
    partial_tiles,
    root_from_tiles,
    tiles_needed,
)

LEAVES = [sha256(number.to_bytes(8, "big")).digest() for number in range(70_000)]

LARGE = [65535, 65536, 65537, 65536 + 255, 65536 + 256, 65536 + 257, 69_999]


class TileStore:
    """Tiles by place, as a table keeps them; remembers which were read."""

    def __init__(self, size: int, chunks: Iterable[int] = ()) -> None:
        builder, start, tiles = TileBuilder(), 0, list[Tile]()
        for chunk in [*chunks, size]:
            stop = min(start + chunk, size)
            tiles += builder.add(b"".join(LEAVES[start:stop]))
            start = stop
        self.edge = builder.finish()
        tiles += self.edge.tiles
        self.tiles = {(tile.level, tile.index): tile.hashes for tile in tiles}
        assert len(self.tiles) == len(tiles), "a tile came out twice"
        self.read: set[tuple[int, int]] = set()

    def tile(self, level: int, index: int) -> bytes:
        self.read.add((level, index))
        return self.tiles[level, index]


def subtree(level: int, number: int) -> bytes:
    width = 256**level
    return merkle.root(LEAVES[number * width : (number + 1) * width])


@given(st.integers(0, 2000), st.lists(st.integers(0, 700), max_size=6), st.data())
def test_tiles_agree_with_the_tree(size: int, chunks: list[int], data: st.DataObject) -> None:
    store = TileStore(size, chunks)
    leaves = LEAVES[:size]
    assert store.edge.size == size
    assert store.edge.root == merkle.root(leaves) == root_from_tiles(size, store.tile)
    if size:
        index = data.draw(st.integers(0, size - 1))
        store.read.clear()
        assert inclusion_path_from_tiles(index, size, store.tile) == merkle.inclusion_path(leaves, index)
        assert tiles_needed(index, size) == sorted(store.read)


@pytest.mark.parametrize("size", [*range(1, 12), *range(254, 259), *range(510, 515), *range(766, 771), 1999, 2000])
def test_every_path_of_small_trees(size: int) -> None:
    store, leaves = TileStore(size), LEAVES[:size]
    root = merkle.root(leaves)
    for index in range(size):
        path = inclusion_path_from_tiles(index, size, store.tile)
        assert merkle.verify_inclusion(leaves[index], index, size, path, root)


@pytest.mark.parametrize("size", LARGE)
def test_trees_of_three_levels(size: int) -> None:
    store, leaves = TileStore(size, [1, 255, 257, 40_000]), LEAVES[:size]
    assert store.edge.root == merkle.root(leaves) == root_from_tiles(size, store.tile)
    for index in {0, 255, 256, 32_767, 65_279, 65_280, 65_535, 65_536, size - 1, size - 2} & set(range(size)):
        store.read.clear()
        assert inclusion_path_from_tiles(index, size, store.tile) == merkle.inclusion_path(leaves, index)
        assert tiles_needed(index, size) == sorted(store.read)
        assert len(store.read) <= 5


@pytest.mark.parametrize("size", [1, 256, 300, 65_536, 65_800])
def test_a_tile_holds_the_roots_of_complete_subtrees(size: int) -> None:
    store = TileStore(size)
    for (level, index), hashes in store.tiles.items():
        complete = size // 256**level
        assert len(hashes) == 32 * min(256, complete - 256 * index)
        first, last = 256 * index, min(256 * index + 255, complete - 1)
        assert hashes[:32] == subtree(level, first)
        assert hashes[-32:] == subtree(level, last)
    assert {level: sum(place[0] == level for place in store.tiles) for level in range(4)} == {
        level: -(-(size // 256**level) // 256) for level in range(4)
    }


@settings(max_examples=30)
@given(st.integers(0, 1500), st.integers(0, 1500))
def test_a_builder_resumes_from_its_partial_tiles(before: int, after: int) -> None:
    first = TileBuilder()
    tiles = first.add(b"".join(LEAVES[:before]))
    edge = first.finish()
    resumed = TileBuilder.resume(edge.size, reversed(edge.tiles))
    assert resumed.finish() == edge
    rest = b"".join(LEAVES[before : before + after])
    assert resumed.add(rest) == first.add(rest)
    assert resumed.finish() == first.finish()
    assert resumed.finish().root == merkle.root(LEAVES[: before + after])
    assert all(len(tile.hashes) == TILE_BYTES for tile in tiles)


@pytest.mark.parametrize("before", LARGE)
def test_a_builder_resumes_around_a_full_second_level(before: int) -> None:
    edge = TileStore(before).edge
    resumed = TileBuilder.resume(before, edge.tiles)
    resumed.add(LEAVES[before % len(LEAVES)])
    assert resumed.finish().root == merkle.root([*LEAVES[:before], LEAVES[before % len(LEAVES)]])


@pytest.mark.parametrize(
    ("size", "tiles"),
    [
        (1, []),
        (0, [Tile(0, 0, bytes(32))]),
        (2, [Tile(0, 0, bytes(32))]),
        (1, [Tile(0, 1, bytes(32))]),
        (1, [Tile(1, 0, bytes(32))]),
        (1, [Tile(0, 0, bytes(33))]),
        (257, [Tile(0, 1, bytes(32))]),
        (256, [Tile(0, 0, bytes(TILE_BYTES))]),
    ],
)
def test_a_builder_does_not_resume_from_other_tiles(size: int, tiles: list[Tile]) -> None:
    with pytest.raises(ValueError, match="not the partial tiles"):
        TileBuilder.resume(size, tiles)


def test_a_cut_hash_is_refused_and_changes_nothing() -> None:
    builder = TileBuilder()
    builder.add(LEAVES[0])
    with pytest.raises(ValueError, match="not whole hashes"):
        builder.add(bytes(33))
    assert builder.finish() == Edge(1, LEAVES[0], (Tile(0, 0, LEAVES[0]),))


def test_the_empty_tree() -> None:
    assert TileBuilder().finish() == Edge(0, merkle.EMPTY_ROOT, ())
    assert TileBuilder.resume(0, []).finish().size == 0
    assert root_from_tiles(0, TileStore(0).tile) == merkle.EMPTY_ROOT


@given(st.integers(1, 900), st.integers(0, 900))
def test_tiles_that_grew_still_prove_the_earlier_tree(size: int, growth: int) -> None:
    grown, leaves = TileStore(size + growth), LEAVES[:size]
    assert root_from_tiles(size, grown.tile) == merkle.root(leaves)
    assert inclusion_path_from_tiles(size // 2, size, grown.tile) == merkle.inclusion_path(leaves, size // 2)


@pytest.mark.parametrize("index", [-1, 3])
def test_no_path_of_a_leaf_that_is_not_there(index: int) -> None:
    with pytest.raises(IndexError):
        inclusion_path_from_tiles(index, 3, TileStore(3).tile)
    with pytest.raises(IndexError):
        tiles_needed(index, 3)


def test_a_tile_too_short_for_the_size_is_told() -> None:
    with pytest.raises(ValueError, match="tile 0 of level 0 has fewer than 5 hashes"):
        inclusion_path_from_tiles(0, 5, TileStore(4).tile)
    with pytest.raises(ValueError, match="tile 0 of level 0 has fewer than 5 hashes"):
        root_from_tiles(5, TileStore(4).tile)


@given(st.integers(0, 1500), st.integers(0, 1500))
def test_consistency_from_tiles_agrees_with_the_tree(old: int, growth: int) -> None:
    new = old + growth
    store = TileStore(new)
    path = consistency_path_from_tiles(old, new, store.tile)
    assert path == merkle.consistency_path(LEAVES, old, new)
    assert consistency_tiles_needed(old, new) == sorted(store.read)
    assert merkle.verify_consistency(old, new, merkle.root(LEAVES[:old]), merkle.root(LEAVES[:new]), path)


@pytest.mark.parametrize("old", [1, 255, 256, 257, 65_535, *LARGE])
def test_consistency_of_trees_of_three_levels(old: int) -> None:
    store = TileStore(70_000)
    for new in (size for size in (*LARGE, 70_000) if size >= old):
        path = consistency_path_from_tiles(old, new, store.tile)
        assert path == merkle.consistency_path(LEAVES, old, new)


@given(st.integers(1, 600), st.integers(0, 600), st.integers(0, 599))
def test_consistency_proves_a_prefix_and_nothing_else(old: int, growth: int, place: int) -> None:
    new = old + growth
    path = consistency_path_from_tiles(old, new, TileStore(new).tile)
    root, changed = merkle.root(LEAVES[:new]), list(LEAVES[:old])
    changed[place % old] = bytes(32)
    assert merkle.verify_consistency(old, new, merkle.root(LEAVES[:old]), root, path)
    assert not merkle.verify_consistency(old, new, merkle.root(changed), root, path)
    assert not merkle.verify_consistency(old, new, merkle.root(LEAVES[1 : old + 1]), root, path)


@pytest.mark.parametrize(("old", "new"), [(-1, 3), (4, 3)])
def test_no_consistency_of_trees_that_do_not_follow(old: int, new: int) -> None:
    with pytest.raises(IndexError):
        consistency_path_from_tiles(old, new, TileStore(3).tile)
    with pytest.raises(IndexError):
        consistency_tiles_needed(old, new)


def test_consistency_tells_a_tile_too_short() -> None:
    with pytest.raises(ValueError, match="tile 0 of level 0 has fewer than"):
        consistency_path_from_tiles(3, 9, TileStore(7).tile)


@given(st.integers(0, 900), st.integers(0, 900))
def test_partial_tiles_of_an_earlier_size(size: int, growth: int) -> None:
    grown = TileStore(size + growth)
    assert partial_tiles(size, grown.tile) == TileStore(size).edge.tiles
