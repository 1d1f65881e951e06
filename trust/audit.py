"""The audit of a ledger: finds every row, tile or checkpoint that is not what it was, in one pass of bounded memory.

What is trusted is the log's public key, and any checkpoint that the auditor kept. The stored level-0 tiles are
checked against what proves them (the hashes above them, the checkpoints), the rows against those tiles, the upper
tiles against the lower ones, and every checkpoint against the root at its size. At most three tiles a level, some
2,000 rows and the findings are held at a time.

Whoever rewrites rows and all tiles coherently cannot sign: then the checkpoints from there on are found wrong, and
the first wrong and the last right one say between which entries. Whoever has the key too can sign another history,
and is found out by a checkpoint that somebody kept, or that was anchored: give it as `since` or in `kept`.
"""

from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from trust import merkle
from trust.alignment import LOOK_AHEAD, Alignment, Links, Placed, Row
from trust.checkpoint import Checkpoint
from trust.finding import Finding, FindingKind, Findings
from trust.ledger import EntryMalformedError, genesis
from trust.marks import Mark, Marks, close
from trust.note import Verifier
from trust.tiles import (
    ENTRIES,
    TILE_BYTES,
    Tile,
    TileBuilder,
    inclusion_path_from_tiles,
    leaf_from_tiles,
    partial_tiles,
    right_edge,
    root_from_tiles,
    tiles_needed,
)

__all__ = ["Finding", "FindingKind", "LedgerReader", "Report", "Row", "audit"]


class LedgerReader(Protocol):
    """One snapshot of a ledger: all of it as of one moment, also while entries are appended."""

    async def size(self) -> int:
        """Give the number of entries that the tiles hold."""
        ...

    async def tile(self, level: int, index: int) -> bytes:
        """Give the hashes of a tile as they are stored, of none if there is none."""
        ...

    def rows(self, first: int) -> AsyncIterator[Sequence[Placed]]:
        """Give all rows numbered `first` or more in pages, by number."""
        ...

    def checkpoints(self, first: int) -> AsyncIterator[bytes]:
        """Give the stored signed checkpoints of `first` entries or more, by size."""
        ...


@dataclass(frozen=True, slots=True)
class Report:
    """What an audit found, and what it covered.

    `size` entries are there; rows from `first` on were compared, and `rows` of them were in their places. `latest` is
    the largest signed checkpoint that fits, to be kept for the next audit if this one is clean; entries beyond it agree
    with the tiles, but nobody has signed for them yet. `complete` is False if the audit gave up: at the limit of
    findings, or because a tile that is needed to go on is not there.
    """

    findings: tuple[Finding, ...]
    complete: bool
    size: int
    first: int
    rows: int
    checkpoints: int
    latest: Checkpoint | None

    @property
    def clean(self) -> bool:
        """Whether all was looked at and nothing found."""
        return self.complete and not self.findings


async def audit(
    reader: LedgerReader,
    verifiers: Sequence[Verifier],
    *,
    origin: str,
    since: Checkpoint | None = None,
    kept: Iterable[Checkpoint] = (),
    pruned: int = 0,
    limit: int = 1000,
) -> Report:
    """Audit the ledger `origin`: whole, or from the trusted checkpoint `since` on.

    `kept` are further checkpoints that the auditor trusts, of no fewer entries than `since`: the log must contain each.
    Their signatures were checked when they were kept, and are not now. Rows under `pruned` are known to be gone, and
    only their hashes are checked. The audit ends early at about `limit` findings. Raises what `reader` does.
    """
    run = _Audit(reader, verifiers, origin, limit)
    try:
        await run.start(since, kept, pruned)
        await run.all_tiles()
        await run.end()
    finally:
        await run.close()
    return run.report()


class _Audit:
    def __init__(self, reader: LedgerReader, verifiers: Sequence[Verifier], origin: str, limit: int) -> None:
        self._reader = reader
        self._verifiers = verifiers
        self._origin = origin
        self._limit = limit
        self._findings = Findings(limit)
        self._complete = True
        self._latest: Checkpoint | None = None
        self._fitting = 0

    async def start(self, since: Checkpoint | None, kept: Iterable[Checkpoint], pruned: int) -> None:
        self._size = await self._reader.size()
        self._done = since.size if since else 0
        self._builder, self._last = TileBuilder(), genesis(self._origin)
        self._first = min(max(self._done, pruned), self._size)
        self._alignment = Alignment(self._first, self._findings.add)
        self._pages = self._reader.rows(self._first)
        self._rows: list[Placed] = []
        self._exhausted = False
        notes = self._reader.checkpoints(self._done)
        trusted = [mark for mark in kept if mark.size >= self._done]
        self._marks = Marks(notes, trusted, self._verifiers, origin=self._origin, findings=self._findings)
        if since and since.size > self._size:
            self._find(FindingKind.CHECKPOINT_AHEAD, since.size, f"there are only {self._size} entries")
            self._complete = False
        elif since and since.size:
            await self._resume(since)

    async def all_tiles(self) -> None:
        while self._complete and self._done < self._size:
            await self._tile(self._done // ENTRIES)
            if self._findings.full or self._alignment.open > self._limit:
                self._complete = False

    async def end(self) -> None:
        if self._complete:
            await self._upper(self._builder.partial())
            await self._read(LOOK_AHEAD)
            self._alignment.rest(self._rows)
            root = self._builder.finish().root
            async for mark in self._marks.rest():
                self._compare(mark, root)
                if self._findings.full:
                    self._complete = False
                    break
        self._alignment.resolve()

    async def close(self) -> None:
        """Let go of what the reader holds open for us, also if the audit ended early."""
        await self._marks.close()
        await close(self._pages)

    def report(self) -> Report:
        return Report(
            findings=self._findings.all(),
            complete=self._complete,
            size=self._size,
            first=self._first,
            rows=self._alignment.checked,
            checkpoints=self._marks.read,
            latest=self._latest,
        )

    async def _resume(self, since: Checkpoint) -> None:
        """Take the tree up at a trusted checkpoint: its right edge, and the hash of its last entry."""
        places = {(level, index) for level, index, _ in right_edge(since.size)}
        places |= set(tiles_needed(since.size - 1, since.size)) | {(0, (since.size - 1) // ENTRIES)}
        tiles = {place: await self._reader.tile(*place) for place in places}

        def tile(level: int, index: int) -> bytes:
            return tiles[level, index]

        try:
            root = root_from_tiles(since.size, tile)
            self._last = leaf_from_tiles(since.size - 1, tile)
            path = inclusion_path_from_tiles(since.size - 1, since.size, tile)
            self._builder = TileBuilder.resume(since.size, partial_tiles(since.size, tile))
        except ValueError as error:
            self._find(FindingKind.FORKED, since.size, f"the tiles of that tree are not all there: {error}")
            self._complete = False
            return
        if root != since.root:
            self._find(FindingKind.FORKED, since.size, "the log does not contain the tree of the trusted checkpoint")
        elif not merkle.verify_inclusion(self._last, since.size - 1, since.size, path, since.root):
            detail = "it is not of the tree of the trusted checkpoint"
            self._find(FindingKind.TILE_WRONG, (since.size - 1) // ENTRIES, detail)
        else:
            self._latest, self._fitting = since, since.size

    async def _tile(self, number: int) -> None:
        """Check one level-0 tile, its rows, what it gives above, and the checkpoints within it."""
        stop = min((number + 1) * ENTRIES, self._size)
        await self._read(stop - self._done)
        marks = await self._marks.until(stop)
        stored = await self._hashes(number, stop)
        links = Links(self._done, [self._last, *stored])
        if not await self._fine(number, stop, links, marks):
            stored = await self._damaged(number, stop, stored, marks)
            if len(stored) < stop - self._done:
                self._complete = False
                return
        await self._feed(stored, marks, stop)

    async def _fine(self, number: int, stop: int, links: Links, marks: Sequence[Mark]) -> bool:
        """Whether the tile is there and its rows are in their places; or without rows, whether anything proves it."""
        stored = links.hashes[1:]
        if len(stored) < stop - self._done:
            return False
        if self._alignment.place >= stop:
            return await self._proves(number, stored, marks)
        return self._alignment.take(self._rows, links, stop)

    async def _feed(self, hashes: Sequence[bytes], marks: Sequence[Mark], stop: int) -> None:
        """Add the tile's hashes to the tree, halting at each checkpoint."""
        first, full = self._done, list[Tile]()
        for mark in marks:
            full += self._builder.add(b"".join(hashes[self._done - first : mark.checkpoint.size - first]))
            self._done = mark.checkpoint.size
            self._compare(mark, self._builder.finish().root)
        full += self._builder.add(b"".join(hashes[self._done - first :]))
        self._done, self._last = stop, hashes[-1]
        await self._upper(full)

    async def _damaged(self, number: int, stop: int, stored: list[bytes], marks: Sequence[Mark]) -> list[bytes]:
        """Find out whether the tile or its rows are at fault, align the rows, and give the hashes to go on with."""
        hashes = await self._proved(number, stop, stored, marks)
        await self._read(LOOK_AHEAD + ENTRIES)
        if self._alignment.place >= stop or len(hashes) < stop - self._done:
            return hashes
        ahead: list[bytes] = []
        following = range(number + 1, min(number + LOOK_AHEAD // ENTRIES, (self._size - 1) // ENTRIES) + 1)
        for later in following:
            ahead += _split(await self._reader.tile(0, later))[:ENTRIES]
            if len(ahead) % ENTRIES:
                break
        links = Links(self._done, [self._last, *hashes, *ahead[: self._size - stop]])
        self._alignment.align(self._rows, links, stop)
        return hashes

    async def _proved(self, number: int, stop: int, stored: list[bytes], marks: Sequence[Mark]) -> list[bytes]:
        """Choose between the stored tile and what the rows give, by what is above the tile and by the checkpoints."""
        whole = len(stored) == stop - self._done
        if whole and await self._proves(number, stored, marks):
            return stored
        made = self._made(stop)
        if made is not None and made != stored and await self._proves(number, made, marks):
            self._find(FindingKind.TILE_WRONG, number, _difference(stored, made))
            return made
        if not whole:
            self._find(FindingKind.TILE_WRONG, number, "it is not there, or cut, and the rows do not give it")
        elif made != stored and (marks or stop % ENTRIES == 0):
            self._find(FindingKind.TILE_WRONG, number, "neither it nor its rows give what is above it or was signed")
        return stored

    def _made(self, stop: int) -> list[bytes] | None:
        """Make the tile's hashes from the next rows; None if they are not there."""
        rows = self._rows[: stop - self._done]
        if self._alignment.place != self._done or len(rows) < stop - self._done:
            return None
        hashes, last = [], self._last
        try:
            for row in rows:
                last = row.event.hash_after(last)
                hashes.append(last)
        except EntryMalformedError:
            return None
        return hashes

    async def _proves(self, number: int, hashes: Sequence[bytes], marks: Sequence[Mark]) -> bool:
        """Whether the hashes lead to the hash above the tile and to the last checkpoint in it, if there are such."""
        held = self._builder.partial()
        if marks and (size := marks[-1].checkpoint.size) > self._done:
            builder = TileBuilder.resume(self._done, held)
            builder.add(b"".join(hashes[: size - self._done]))
            if builder.finish().root != marks[-1].checkpoint.root:
                return False
        tile = b"".join([*(below.hashes for below in held if below.level == 0), *hashes])
        if len(tile) != TILE_BYTES:
            return True
        above, at = await self._reader.tile(1, number // ENTRIES), number % ENTRIES * merkle.HASH_BYTES
        return merkle.root(_split(tile)) == above[at : at + merkle.HASH_BYTES]

    async def _upper(self, tiles: Iterable[Tile]) -> None:
        """Compare tiles above level 0 with what is stored in their places."""
        for tile in tiles:
            if tile.level:
                stored = (await self._reader.tile(tile.level, tile.index))[: len(tile.hashes)]
                if stored != tile.hashes:
                    detail = _difference(_split(stored), _split(tile.hashes))
                    self._find(FindingKind.TILE_WRONG, tile.index, detail, level=tile.level)

    def _compare(self, mark: Mark, root: bytes) -> None:
        size = mark.checkpoint.size
        if size > self._size:
            finding = Finding(FindingKind.CHECKPOINT_AHEAD, size, size, f"there are only {self._size} entries")
            self._findings.add(finding, follows=mark.before)
        elif mark.checkpoint.root == root:
            self._fitting = size
            self._latest = self._latest if mark.kept else mark.checkpoint
        elif mark.kept:
            self._find(FindingKind.FORKED, size, "the log does not contain the tree of the trusted checkpoint")
        else:
            detail = f"the log's hashes give another root; the last that fits is of {self._fitting} entries"
            self._findings.add(Finding(FindingKind.CHECKPOINT_WRONG, size, size, detail), follows=mark.before)

    async def _hashes(self, number: int, stop: int) -> list[bytes]:
        """Read a level-0 tile's hashes from the next place on up to `stop`, fewer if it is cut."""
        stored = await self._reader.tile(0, number)
        first = number * ENTRIES
        return _split(stored)[self._done - first : stop - first]

    async def _read(self, count: int) -> None:
        """Have `count` rows at hand, or all that are left."""
        while len(self._rows) < count and not self._exhausted:
            page = await anext(self._pages, None)
            if page is None:
                self._exhausted = True
            else:
                self._rows += page

    def _find(self, kind: FindingKind, place: int, detail: str, *, level: int = 0) -> None:
        self._findings.add(Finding(kind, place, place, detail, level=level))


def _split(hashes: bytes) -> list[bytes]:
    """Split concatenated hashes; one that is cut is dropped."""
    size = merkle.HASH_BYTES
    return [hashes[start : start + size] for start in range(0, len(hashes) - size + 1, size)]


def _difference(stored: Sequence[bytes], made: Sequence[bytes]) -> str:
    wrong = [number for number, own in enumerate(made) if number >= len(stored) or stored[number] != own]
    return f"hash {wrong[0]} of those looked at is not what the log gives ({len(wrong)} are not)"
