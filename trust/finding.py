"""What an audit of the ledger can find, each thing named by where it is."""

from dataclasses import dataclass, replace
from enum import Enum


class FindingKind(Enum):
    """What is wrong, and what `Finding.first` and `last` count."""

    ENTRY_EDITED = "entry_edited"
    """The row at a place is not what was logged there. Places of the log."""
    ENTRY_MISSING = "entry_missing"
    """What was logged at a place is not there. Places of the log."""
    ENTRY_INSERTED = "entry_inserted"
    """A row that was never logged. Indexes as the rows claim them."""
    ENTRY_MOVED = "entry_moved"
    """What was logged at a place stands at another. Places of the log."""
    ENTRY_RENUMBERED = "entry_renumbered"
    """Rows that are what was logged, in order, but claim other numbers than their places. Places of the log."""
    PERSONAL_EDITED = "personal_edited"
    """Personal fields that are kept are not those that were committed to. Places of the log."""
    TILE_WRONG = "tile_wrong"
    """A stored tile is not what the log's hashes give; `level` says of which level. Indexes of tiles."""
    CHECKPOINT_REFUSED = "checkpoint_refused"
    """No checkpoint of this log signed by its key. Numbers of stored checkpoints, from 0."""
    CHECKPOINT_DISORDERED = "checkpoint_disordered"
    """A checkpoint is not larger than the one before. Numbers of stored checkpoints, from 0."""
    CHECKPOINT_WRONG = "checkpoint_wrong"
    """A signed checkpoint has another root than the log's hashes at its size. Sizes."""
    CHECKPOINT_AHEAD = "checkpoint_ahead"
    """A checkpoint was signed, or is known, for more entries than there are. Sizes."""
    FORKED = "forked"
    """The log does not contain the tree of a checkpoint that the auditor knew before. Sizes."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing, or a run of things next to each other from `first` to `last`, and a sentence for people.

    `event_id` is that of the row at fault where one row is; `level` is that of tiles.
    """

    kind: FindingKind
    first: int
    last: int
    detail: str
    level: int = 0
    event_id: bytes | None = None


class Findings:
    """Findings in the order they are made, of which neighbours that differ in nothing else become one run."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._found: list[Finding] = []

    @property
    def full(self) -> bool:
        """Whether there are as many as were asked for, so that going on is no use."""
        return len(self._found) >= self._limit

    def add(self, finding: Finding, *, follows: int | None = None) -> None:
        """Add one; `follows` is the place next before it, if that is not the number before."""
        before = self._found[-1] if self._found else None
        place = finding.first - 1 if follows is None else follows
        if before and before.last == place and replace(before, first=finding.first, last=finding.last) == finding:
            self._found[-1] = replace(before, last=finding.last)
        else:
            self._found.append(finding)

    def all(self) -> tuple[Finding, ...]:
        """Give what was found."""
        return tuple(self._found)
