"""The checkpoints that an audit passes, by size: those stored with the log, and those that the auditor kept."""

from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Sequence
from dataclasses import dataclass

from trust.checkpoint import Checkpoint, CheckpointError, open_checkpoint
from trust.finding import Finding, FindingKind, Findings
from trust.note import NoteError, Verifier


async def close(stream: AsyncIterator[object]) -> None:
    """Close a stream that can be closed, as generators can: what it holds open is not left to the garbage collector."""
    if isinstance(stream, AsyncGenerator):
        await stream.aclose()


@dataclass(frozen=True, slots=True)
class Mark:
    """A checkpoint to be met: whether the auditor kept it, and the size of the stored one before it, -1 for none."""

    checkpoint: Checkpoint
    kept: bool
    before: int


class Marks:
    """Merges stored and kept checkpoints; stored ones that are not of this log, or out of order, become findings."""

    def __init__(
        self,
        notes: AsyncIterator[bytes],
        kept: Iterable[Checkpoint],
        verifiers: Sequence[Verifier],
        *,
        origin: str,
        findings: Findings,
    ) -> None:
        self._verifiers = verifiers
        self._origin = origin
        self._findings = findings
        self._notes = notes
        self._stream = self._merged(notes, deque(sorted(kept, key=lambda checkpoint: checkpoint.size)))
        self._next: Mark | None = None
        self.read = 0
        """How many stored checkpoints were read."""

    async def until(self, size: int) -> list[Mark]:
        """Give the next checkpoints of at most `size` entries."""
        marks: list[Mark] = []
        while self._next is None or self._next.checkpoint.size <= size:
            if self._next is not None:
                marks.append(self._next)
            self._next = await anext(self._stream, None)
            if self._next is None:
                break
        return marks

    async def rest(self) -> AsyncIterator[Mark]:
        """Give all that are left."""
        if self._next is not None:
            yield self._next
            self._next = None
        async for mark in self._stream:
            yield mark

    async def close(self) -> None:
        """Let go of the stored checkpoints."""
        await self._stream.aclose()
        await close(self._notes)

    async def _merged(self, notes: AsyncIterator[bytes], kept: deque[Checkpoint]) -> AsyncGenerator[Mark, None]:
        before = -1
        async for note in notes:
            checkpoint = self._opened(note, before)
            self.read += 1
            if checkpoint is None:
                if self._findings.full:
                    return
                continue
            while kept and kept[0].size <= checkpoint.size:
                yield Mark(kept.popleft(), True, before)
            yield Mark(checkpoint, False, before)
            before = checkpoint.size
        for trusted in kept:
            yield Mark(trusted, True, before)

    def _opened(self, note: bytes, before: int) -> Checkpoint | None:
        try:
            checkpoint = open_checkpoint(note, self._verifiers, self._origin)
        except (NoteError, CheckpointError) as error:
            self._refuse(FindingKind.CHECKPOINT_REFUSED, str(error))
            return None
        if checkpoint.size <= before:
            self._refuse(FindingKind.CHECKPOINT_DISORDERED, "it is not larger than the one before")
            return None
        return checkpoint

    def _refuse(self, kind: FindingKind, detail: str) -> None:
        self._findings.add(Finding(kind, self.read, self.read, detail))
