"""Times the ledger: appending, proving, auditing; against a bare hash of an entry, interleaved in one process.

Run from the repository: python bench/ledger.py
"""

import asyncio
import gc
import os
import statistics
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from time import process_time_ns

sys.path.insert(0, str(Path(__file__).parents[1]))

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from trust.alignment import Row
from trust.audit import audit
from trust.checkpoint import Checkpoint, open_checkpoint, sign_checkpoint
from trust.ledger import Event, Opening, State, append, entry_bytes
from trust.logproof import LogProof, verify
from trust.note import Signer
from trust.tiles import consistency_path_from_tiles, inclusion_path_from_tiles

ORIGIN = "bench.voketag/ledger"
SIGNER = Signer(ORIGIN, Ed25519PrivateKey.generate())
ENTRIES, GROUP, ROUNDS = 200_000, 500, 7


def event(number: int) -> Event:
    return Event(os.urandom(16), os.urandom(16), 1_700_000_000_000 + number, 1, 12, 1, os.urandom(32))


class Ledger:
    """A ledger of ENTRIES, grown in groups, with a checkpoint every 10,000 entries."""

    def __init__(self, events: Sequence[Event]) -> None:
        self.state = State.empty(ORIGIN)
        self.events = events
        self.tiles: dict[tuple[int, int], bytes] = {}
        self.notes: list[bytes] = []
        for start in range(0, len(events), GROUP):
            appended = append(self.state, events[start : start + GROUP])
            self.state = appended.state
            self.tiles |= {(tile.level, tile.index): tile.hashes for tile in appended.tiles}
            if self.state.size % 10_000 == 0:
                self.notes.append(sign_checkpoint(self.checkpoint(), SIGNER))

    def checkpoint(self) -> Checkpoint:
        return Checkpoint(ORIGIN, self.state.size, self.state.root())

    def read(self, level: int, index: int) -> bytes:
        return self.tiles[level, index]

    async def size(self) -> int:
        return self.state.size

    async def tile(self, level: int, index: int) -> bytes:
        return self.tiles[level, index]

    async def rows(self, first: int) -> AsyncIterator[Sequence[Row]]:
        for start in range(first, len(self.events), 1000):
            page = self.events[start : start + 1000]
            yield [Row(start + number, each) for number, each in enumerate(page)]

    async def checkpoints(self, first: int) -> AsyncIterator[bytes]:
        for note in self.notes:
            if int(note.split(b"\n")[1]) >= first:
                yield note

    def proof(self, index: int) -> LogProof:
        level = self.tiles[0, (index - 1) // 256]
        previous = level[(index - 1) % 256 * 32 :][:32]
        path = inclusion_path_from_tiles(index, self.state.size, self.read)
        return LogProof(entry_bytes(previous, self.events[index]), index, tuple(path), self.notes[-1])


@dataclass(frozen=True, slots=True)
class Case:
    """A run of `count` operations."""

    name: str
    count: int
    run: Callable[[int], object]


def repeat(operation: Callable[[], object]) -> Callable[[int], object]:
    def run(count: int) -> None:
        for _ in range(count):
            operation()

    return run


def appending(events: Sequence[Event], group: int, *, start: State) -> Callable[[int], object]:
    def run(count: int) -> None:
        state = start
        for first in range(0, count, group):
            state = append(state, events[first : first + group]).state

    return run


def cases(ledger: Ledger) -> list[Case]:
    events, size, half = ledger.events, ledger.state.size, ledger.state.size // 2 + 77
    checkpoint, note, proof = ledger.checkpoint(), ledger.notes[-1], ledger.proof(half)
    opening, start = Opening(os.urandom(16), (os.urandom(32), os.urandom(32), b"", b"BR")), ledger.state

    def audited(count: int) -> None:
        report = asyncio.run(audit(ledger, [SIGNER.verifier], origin=ORIGIN))
        assert report.clean, report
        assert report.rows == count

    return [
        *(
            Case(f"append, groups of {group}", 20_000, appending(events, group, start=start))
            for group in (20, 100, 500)
        ),
        Case("commitment to personal", 5_000, repeat(opening.commitment)),
        Case("root of the tree", 200, repeat(start.root)),
        Case("sign a checkpoint", 200, repeat(lambda: sign_checkpoint(checkpoint, SIGNER))),
        Case("open a checkpoint", 200, repeat(lambda: open_checkpoint(note, [SIGNER.verifier], ORIGIN))),
        Case("inclusion path", 200, repeat(lambda: inclusion_path_from_tiles(half, size, ledger.read))),
        Case("consistency path", 200, repeat(lambda: consistency_path_from_tiles(half, size, ledger.read))),
        Case("check a log proof", 200, repeat(lambda: verify(proof, [SIGNER.verifier], ORIGIN))),
        Case("audit, an entry", size, audited),
    ]


def cpu_us(run: Callable[[int], object], count: int) -> float:
    started = process_time_ns()
    run(count)
    return (process_time_ns() - started) / count / 1000


def main() -> None:
    ledger, entry = Ledger([event(number) for number in range(ENTRIES)]), os.urandom(115)
    gc.disable()
    bare = repeat(lambda: sha256(entry).digest())
    print(f"{ENTRIES:,} entries{'CPU µs':>20}   ratio to sha256 of an entry")
    for case in cases(ledger):
        times, ratios = [], []
        for _ in range(ROUNDS):
            base = cpu_us(bare, 5000)
            times.append(cpu_us(case.run, case.count))
            ratios.append(times[-1] / base)
        print(f"{case.name:24}{statistics.median(times):10.2f}{statistics.median(ratios):8.2f}")


if __name__ == "__main__":
    main()
