"""An export of the audit log, to be audited by whoever holds it: no database and no server of VokeTag's is asked.

Each line holds an entry with the hash of the entry before it, so that a line which was changed contradicts the next
one. The hashes of all entries are held in memory, some 70 bytes each; the lines are read as they are needed.
"""

import json
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from trust.auditlog import LogRow, row_from_json
from trust.ledger import EntryMalformedError
from trust.merkle import HASH_BYTES
from trust.tiles import ENTRIES, Tile, TileBuilder

PAGE = 1000
FAR = 100_000
"""How far beyond the number of lines a place may be that a line claims."""
_UNKNOWN = bytes(HASH_BYTES)


class ExportMalformedError(ValueError):
    """The file is no export; the message says which line is wrong."""


class _Hashes:
    """The hash of each place, as far as lines tell."""

    def __init__(self, places: int) -> None:
        self._next = bytearray(places * HASH_BYTES)
        self._own = bytearray(places * HASH_BYTES)
        self.size = 0

    def add(self, row: LogRow) -> None:
        """Notes what a line says of its own place and of the one before."""
        number = row.number
        self.size = max(self.size, number + 1)
        own = row.event.hash_after(row.previous)
        if self._at(self._own, number) == _UNKNOWN:
            self._put(self._own, number, own)
        if number:
            told = self._at(self._next, number - 1)
            # Of two lines for one place the one that goes on from the line before it is right.
            if told == _UNKNOWN or self._at(self._own, number - 1) == row.previous:
                self._put(self._next, number - 1, row.previous)

    def all(self) -> bytes:
        """All hashes, concatenated; zero where nothing tells."""
        return b"".join(self._likely(number) for number in range(self.size))

    def _likely(self, number: int) -> bytes:
        """What the next line says of a place, unless the line behind that contradicts it; else what its own gives."""
        own, told = self._at(self._own, number), self._at(self._next, number)
        behind = self._at(self._next, number + 1)
        if told != _UNKNOWN and behind in (_UNKNOWN, self._at(self._own, number + 1)):
            return told
        return told if own == _UNKNOWN else own

    @staticmethod
    def _at(hashes: bytearray, number: int) -> bytes:
        return bytes(hashes[number * HASH_BYTES : (number + 1) * HASH_BYTES])

    @staticmethod
    def _put(hashes: bytearray, number: int, value: bytes) -> None:
        hashes[number * HASH_BYTES : (number + 1) * HASH_BYTES] = value


class Export:
    """What `trust.audit` reads, out of a file of `ExportEntries`. Raises ExportMalformedError, OSError."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with path.open("rb") as file:
            places = sum(1 for _ in file) + FAR
        hashes, self._notes = _Hashes(places), list[bytes]()
        for line, value in self._lines():
            if isinstance(value, bytes):
                self._notes.append(value)
            elif value.number >= places:
                raise ExportMalformedError(f"line {line} claims the place {value.number}, far from all others")
            else:
                hashes.add(value)
        self._size, self._hashes = hashes.size, hashes.all()
        builder = TileBuilder()
        upper: Iterable[Tile] = (*builder.add(self._hashes), *builder.partial())
        self._upper = {(tile.level, tile.index): tile.hashes for tile in upper if tile.level}

    async def size(self) -> int:
        """The number of places that lines claim."""
        return self._size

    async def tile(self, level: int, index: int) -> bytes:
        """The hashes of a tile, of none if there is none."""
        if level:
            return self._upper.get((level, index), b"")
        width = ENTRIES * HASH_BYTES
        return self._hashes[index * width : (index + 1) * width]

    async def rows(self, first: int) -> AsyncIterator[Sequence[LogRow]]:
        """All rows numbered `first` or more in pages, as they stand in the file."""
        page: list[LogRow] = []
        for _, value in self._lines():
            if isinstance(value, LogRow) and value.number >= first:
                page.append(value)
            if len(page) == PAGE:
                yield page
                page = []
        yield page

    async def checkpoints(self, first: int) -> AsyncIterator[bytes]:
        """The signed checkpoints; an export from which they are asked for from a size on is read whole."""
        del first
        for note in self._notes:
            yield note

    def _lines(self) -> Iterator[tuple[int, LogRow | bytes]]:
        with self._path.open("rb") as file:
            for number, line in enumerate(file, 1):
                try:
                    yield number, _read(json.loads(line))
                except (EntryMalformedError, ValueError, RecursionError) as error:
                    raise ExportMalformedError(f"line {number} is neither entry nor checkpoint: {error}") from error


def _read(value: Any) -> LogRow | bytes:
    if not isinstance(value, dict):
        raise EntryMalformedError("it is no object")
    note = value.get("checkpoint")
    return note.encode() if isinstance(note, str) else row_from_json(value)
