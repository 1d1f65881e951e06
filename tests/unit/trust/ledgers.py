"""Ledgers in memory, whole or damaged, for tests of what reads them."""

from collections.abc import AsyncIterator, Iterable, Sequence
from hashlib import sha256

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from trust.alignment import Row
from trust.audit import FindingKind, Report, audit
from trust.checkpoint import Checkpoint, sign_checkpoint
from trust.ledger import Event, Opening, State, append
from trust.merkle import HASH_BYTES
from trust.note import Signer

KIND = FindingKind
ORIGIN = "voketag.test/ledger"
SIGNER = Signer(ORIGIN, Ed25519PrivateKey.from_private_bytes(sha256(b"the ledger of the tests").digest()))


def opening(number: int) -> Opening:
    seed = sha256(b"opening %d" % number).digest()
    return Opening(seed[:16], (seed[16:], b"", b"BR"))


def event(number: int) -> Event:
    seed = sha256(b"event %d" % number).digest()
    return Event(
        event_id=number.to_bytes(6, "big") + b"\x70" + seed[:9],
        product_id=seed[9:25],
        time_ms=1_700_000_000_000 + number,
        verdict=1 + seed[25] % 5,
        risk_total=seed[26] % 101,
        risk_version=3,
        personal=opening(number).commitment(),
    )


def edited(row: Row) -> Row:
    return row._replace(event=row.event._replace(risk_total=(row.event.risk_total + 1) % 101))


class MemoryLedger:
    """A ledger as a table and a folder of tiles would hold it; each part can be damaged."""

    def __init__(self, origin: str = ORIGIN) -> None:
        self.origin = origin
        self.state = State.empty(origin)
        self.stored: list[Row] = []
        self.tiles: dict[tuple[int, int], bytes] = {}
        self.notes: list[bytes] = []
        self.page = 100
        self.tiles_read = 0

    def grow(self, events: Iterable[Event], *, openings: bool = False) -> None:
        events = list(events)
        first = self.state.size
        appended = append(self.state, events)
        self.state = appended.state
        for tile in appended.tiles:
            self.tiles[tile.level, tile.index] = tile.hashes
        self.stored += [Row(first + n, each, opening(first + n) if openings else None) for n, each in enumerate(events)]

    def sign(self) -> Checkpoint:
        checkpoint = self.checkpoint()
        self.notes.append(sign_checkpoint(checkpoint, SIGNER))
        return checkpoint

    def checkpoint(self) -> Checkpoint:
        return Checkpoint(self.origin, self.state.size, self.state.root())

    def renumber(self) -> None:
        self.stored = [row._replace(number=number) for number, row in enumerate(self.stored)]

    def flip(self, level: int, index: int, place: int) -> None:
        hashes = bytearray(self.tiles[level, index])
        hashes[place * HASH_BYTES] ^= 1
        self.tiles[level, index] = bytes(hashes)

    async def size(self) -> int:
        return self.state.size

    async def tile(self, level: int, index: int) -> bytes:
        self.tiles_read += 1
        return self.tiles.get((level, index), b"")

    async def rows(self, first: int) -> AsyncIterator[Sequence[Row]]:
        rows = sorted((row for row in self.stored if row.number >= first), key=lambda row: row.number)
        for start in range(0, len(rows), self.page):
            yield rows[start : start + self.page]

    async def checkpoints(self, first: int) -> AsyncIterator[bytes]:
        for note in self.notes:
            if int(note.split(b"\n")[1]) >= first:
                yield note


def ledger(size: int, *, checkpoints: Sequence[int] = (), openings: bool = False) -> MemoryLedger:
    """A ledger with a checkpoint at its size and at those given."""
    made = MemoryLedger()
    for stop in sorted({*checkpoints, size}):
        if stop <= size:
            made.grow([event(number) for number in range(made.state.size, stop)], openings=openings)
            made.sign()
    return made


async def audited(
    reader: MemoryLedger, *, since: Checkpoint | None = None, kept: Sequence[Checkpoint] = (), **options: int
) -> Report:
    return await audit(reader, [SIGNER.verifier], origin=ORIGIN, since=since, kept=kept, **options)


def named(report: Report) -> list[tuple[FindingKind, int, int]]:
    """The findings without their sentences, and without rows that only claim other numbers since those before moved."""
    found = [(finding.kind, finding.first, finding.last) for finding in report.findings]
    return [each for each in found if each[0] is not KIND.ENTRY_RENUMBERED]
