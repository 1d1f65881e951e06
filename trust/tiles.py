"""A Merkle tree kept as tiles of 256 hashes, in the geometry of C2SP tlog-tiles at height 8.

Entry k of level L is the root of the 256^L leaves from k * 256^L on, and tile N of level L holds the entries
256 N to 256 N + 255, concatenated: 8 KiB. Only complete subtrees are entries; a tile at the right edge may be
partial, and what it holds only ever grows. The tree is that of `trust.merkle`.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from typing import Self

from trust import merkle

ENTRIES = 256
TILE_BYTES = ENTRIES * merkle.HASH_BYTES

Reader = Callable[[int, int], bytes]
"""Gives the hashes of a tile by (level, index); it may give more than the tree of the asked size has."""


@dataclass(frozen=True, slots=True)
class Tile:
    """1 to 256 concatenated hashes of one level; fewer than 256 only at the right edge."""

    level: int
    index: int
    hashes: bytes


@dataclass(frozen=True, slots=True)
class Edge:
    """The state of a tree: its size and root, and its partial tiles, one a level at most, lowest first."""

    size: int
    root: bytes
    tiles: tuple[Tile, ...]


class TileBuilder:
    """Turns a stream of leaf hashes into tiles, holding at most 255 hashes a level.

    Tiles come out once, when they are full; `finish` gives the partial ones, from which `resume` goes on.
    """

    def __init__(self) -> None:
        self._size = 0
        self._partial: list[bytearray] = [bytearray()]

    @classmethod
    def resume(cls, size: int, partial_tiles: Iterable[Tile]) -> Self:
        """Go on after `size` leaves from the partial tiles that `finish` gave there, in any order.

        Raises ValueError unless they are exactly the partial tiles of a tree of that size.
        """
        given = {(tile.level, tile.index): tile.hashes for tile in partial_tiles}
        wanted = {(level, index): width for level, index, width in right_edge(size)}
        if {place: len(hashes) for place, hashes in given.items()} != {
            place: width * merkle.HASH_BYTES for place, width in wanted.items()
        }:
            raise ValueError(f"these are not the partial tiles of a tree of {size} leaves")
        builder = cls()
        builder._size = size
        builder._partial = [bytearray() for _ in range(max((level for level, _ in wanted), default=0) + 1)]
        for (level, _), hashes in given.items():
            builder._partial[level][:] = hashes
        return builder

    def add(self, leaf_hashes: bytes) -> list[Tile]:
        """Append concatenated leaf hashes, any number of them, and give the tiles this filled, lowest first.

        Raises ValueError if a hash is cut.
        """
        if len(leaf_hashes) % merkle.HASH_BYTES:
            raise ValueError(f"{len(leaf_hashes)} bytes are not whole hashes of {merkle.HASH_BYTES}")
        self._size += len(leaf_hashes) // merkle.HASH_BYTES
        filled: list[Tile] = []
        level, incoming = 0, leaf_hashes
        while incoming:
            incoming = self._fill(level, incoming, filled)
            level += 1
        return filled

    def finish(self) -> Edge:
        """Give the size, root and partial tiles as of now; the builder can still be added to."""
        remainder: bytes | None = None
        for hashes in self._partial:
            remainder = _with_remainder(_split(hashes), remainder)
        return Edge(self._size, merkle.EMPTY_ROOT if remainder is None else remainder, self.partial())

    def partial(self) -> tuple[Tile, ...]:
        """Give the partial tiles as of now, lowest first: `finish` without the work for the root."""
        return tuple(
            Tile(level, self._size >> 8 * (level + 1), bytes(hashes))
            for level, hashes in enumerate(self._partial)
            if hashes
        )

    def _fill(self, level: int, incoming: bytes, filled: list[Tile]) -> bytes:
        """Add hashes at one level; give the roots of the tiles that this filled, concatenated."""
        if level == len(self._partial):
            self._partial.append(bytearray())
        held = self._partial[level]
        first = self._first_index(level, len(held) + len(incoming))
        held += incoming
        whole = len(held) - len(held) % TILE_BYTES
        roots = bytearray()
        for number, start in enumerate(range(0, whole, TILE_BYTES)):
            hashes = bytes(held[start : start + TILE_BYTES])
            filled.append(Tile(level, first + number, hashes))
            roots += merkle.root(_split(hashes))
        del held[:whole]
        return bytes(roots)

    def _first_index(self, level: int, unfinished_bytes: int) -> int:
        return ((self._size >> 8 * level) - unfinished_bytes // merkle.HASH_BYTES) // ENTRIES


def tiles_needed(index: int, size: int) -> list[tuple[int, int]]:
    """Name every tile (level, index) that `inclusion_path_from_tiles` reads, each once, lowest level first.

    Raises IndexError if the tree of `size` has no leaf `index`.
    """
    needed: set[tuple[int, int]] = set()

    def note(level: int, number: int) -> bytes:
        needed.add((level, number))
        return bytes(TILE_BYTES)

    inclusion_path_from_tiles(index, size, note)
    return sorted(needed)


def inclusion_path_from_tiles(index: int, size: int, tile: Reader) -> list[bytes]:
    """Give the path of `merkle.inclusion_path` in the tree of `size`, from the tiles that `tile` reads.

    Raises IndexError if there is no leaf `index`, ValueError if a tile is too short for this size.
    """
    if not 0 <= index < size:
        raise IndexError(f"no leaf {index} in a tree of {size}")
    path: list[bytes] = []
    level = 0
    while _blocks(size, level) > 1:
        block = index >> 8 * level
        siblings = _siblings(level, block, size, tile)
        path += merkle.inclusion_path(siblings, block % ENTRIES)
        level += 1
    return path


def consistency_tiles_needed(old: int, new: int) -> list[tuple[int, int]]:
    """Name every tile (level, index) that `consistency_path_from_tiles` reads, each once, lowest level first.

    Raises IndexError unless 0 <= old <= new.
    """
    needed: set[tuple[int, int]] = set()

    def note(level: int, number: int) -> bytes:
        needed.add((level, number))
        return bytes(TILE_BYTES)

    consistency_path_from_tiles(old, new, note)
    return sorted(needed)


def consistency_path_from_tiles(old: int, new: int, tile: Reader) -> list[bytes]:
    """Give the path of `merkle.consistency_path`, from the tiles that `tile` reads.

    Raises IndexError unless 0 <= old <= new, ValueError if a tile is too short for these sizes.
    """
    if not 0 <= old <= new:
        raise IndexError(f"no sizes {old} and {new} of one tree")
    if old in (0, new):
        return []
    read = cache(tile)
    # Where the two trees' ways up begin: the largest complete subtree that the old tree ends with.
    height = (old & -old).bit_length() - 1
    place, last = (old - 1) >> height, (new - 1) >> height
    path = [_subtree(height, place, new, read)] if place else []
    while last:
        if place & 1:
            path.append(_subtree(height, place - 1, new, read))
        elif place < last:
            path.append(_subtree(height, place + 1, new, read))
        height, place, last = height + 1, place >> 1, last >> 1
    return path


def leaf_from_tiles(index: int, tile: Reader) -> bytes:
    """Read leaf hash `index`. Raises ValueError if its tile is too short."""
    number, place = divmod(index, ENTRIES)
    return _entries(0, number, place + 1, tile)[place]


def partial_tiles(size: int, tile: Reader) -> tuple[Tile, ...]:
    """Read the partial tiles of the tree of `size`, lowest first, each cut to the hashes that this tree has.

    Raises ValueError if a tile is too short for this size.
    """
    return tuple(
        Tile(level, number, b"".join(_entries(level, number, width, tile))) for level, number, width in right_edge(size)
    )


def root_from_tiles(size: int, tile: Reader) -> bytes:
    """Give the root of the tree of `size` from its right-edge tiles.

    Raises ValueError if a tile is too short for this size.
    """
    remainder = _remainder(size, _levels(size), tile)
    return merkle.EMPTY_ROOT if remainder is None else remainder


def right_edge(size: int) -> list[tuple[int, int, int]]:
    """Name the partial tiles of the tree of `size` as (level, index, width), lowest level first."""
    edge = []
    for level in range(_levels(size)):
        number, width = divmod(size >> 8 * level, ENTRIES)
        if width:
            edge.append((level, number, width))
    return edge


def _siblings(level: int, block: int, size: int, tile: Reader) -> list[bytes]:
    """Give the hashes below one node of the next level, `block` among them, the remainder if there is one."""
    number = block // ENTRIES
    complete = size >> 8 * level
    width = min(ENTRIES, complete - number * ENTRIES)
    if _blocks(size, level) == number * ENTRIES + 1:
        # Alone in its tile: it rises without a sibling, whatever its hash.
        return [bytes(merkle.HASH_BYTES)]
    entries = _entries(level, number, width, tile)
    if width < ENTRIES and _blocks(size, level) > complete:
        # The path of the remainder itself does not hold the remainder, so its value is not asked for.
        own = block == complete
        entries.append(bytes(merkle.HASH_BYTES) if own else _remainder(size, level, tile) or b"")
    return entries


def _subtree(height: int, place: int, size: int, tile: Reader) -> bytes:
    """Hash the subtree of 2^height leaves from `place` * 2^height on, as far as the tree of `size` goes."""
    first = place << height
    width = min(size - first, 1 << height)
    nodes = []
    while width:
        rise = width.bit_length() - 1
        nodes.append(_complete(rise, first >> rise, tile))
        first, width = first + (1 << rise), width - (1 << rise)
    root = nodes.pop()
    while nodes:
        root = merkle.node_hash(nodes.pop(), root)
    return root


def _complete(height: int, place: int, tile: Reader) -> bytes:
    """Hash a complete subtree of 2^height leaves; its hashes lie in one tile."""
    level, rise = divmod(height, 8)
    number, offset = divmod(place << rise, ENTRIES)
    return merkle.root(_entries(level, number, offset + (1 << rise), tile)[offset:])


def _remainder(size: int, levels: int, tile: Reader) -> bytes | None:
    """Hash the leaves after the last complete subtree of 256^levels leaves; None if there are none."""
    remainder: bytes | None = None
    for level, number, width in right_edge(size):
        if level < levels:
            remainder = _with_remainder(_entries(level, number, width, tile), remainder)
    return remainder


def _with_remainder(entries: list[bytes], remainder: bytes | None) -> bytes | None:
    if remainder is not None:
        entries.append(remainder)
    return merkle.root(entries) if entries else None


def _levels(size: int) -> int:
    return (size.bit_length() + 7) // 8


def _blocks(size: int, level: int) -> int:
    """Count the subtrees of 256^level leaves, the last of which may be incomplete."""
    return -(-size >> 8 * level)


def _entries(level: int, number: int, width: int, tile: Reader) -> list[bytes]:
    hashes = tile(level, number)
    if len(hashes) < width * merkle.HASH_BYTES:
        raise ValueError(f"tile {number} of level {level} has fewer than {width} hashes")
    return _split(hashes[: width * merkle.HASH_BYTES])


def _split(hashes: bytes | bytearray) -> list[bytes]:
    size = merkle.HASH_BYTES
    return [bytes(hashes[start : start + size]) for start in range(0, len(hashes), size)]
