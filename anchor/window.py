"""A window: the roots that wait together and become one tree."""

from dataclasses import dataclass
from uuid import UUID

from anchor.journal import Journal, Waiting
from anchor.submission import Submission
from trust.canonical import anchor_leaf
from trust.merkle import leaf_hash
from trust.tiles import Tile, TileBuilder


@dataclass(frozen=True, slots=True)
class WindowPolicy:
    """A window closes when its oldest root has waited `seconds`, `roots` are there, or one of them is urgent.

    None closes while a transaction waits to be sent, or `unmined` wait to be mined: the roots wait with them and make
    one larger tree.
    """

    seconds: float
    roots: int
    unmined: int = 16

    def due(self, waiting: Waiting) -> bool:
        """True when the window is to be closed; also when the database's clock was set back behind the oldest root."""
        return waiting.roots >= self.roots or waiting.urgent or not 0 <= waiting.seconds < self.seconds


def leaf(submission: Submission) -> bytes:
    """Hash of a submission's leaf in the anchored tree."""
    data = anchor_leaf(submission.kind, submission.subject_id.bytes, submission.size, submission.root)
    return leaf_hash(data)


def plant(submissions: list[Submission]) -> tuple[bytes, list[Tile]]:
    """Root and tiles of the tree over the submissions."""
    builder = TileBuilder()
    full = builder.add(b"".join([leaf(submission) for submission in submissions]))
    edge = builder.finish()
    return edge.root, [*full, *edge.tiles]


class Windows:
    """Closes windows, one at a time."""

    def __init__(self, journal: Journal, policy: WindowPolicy) -> None:
        self._journal = journal
        self._policy = policy

    async def waiting(self) -> Waiting | None:
        """What the next window would take; None when nothing is pending."""
        return await self._journal.waiting(self._policy.roots)

    async def close_due(self, fence: int, waiting: Waiting | None) -> int | None:
        """Makes a tree and its transaction of the pending roots in one commit: the tree's id.

        None when none is due, or anchoring is frozen. Raises LeaseLostError.
        """
        if waiting is None or not self._policy.due(waiting):
            return None
        if await self._journal.frozen() or await self._journal.backed_up(self._policy.unmined):
            return None
        async with self._journal.writing(fence) as writing:
            pending = await writing.pending(self._policy.roots)
            ids: list[UUID] = [submission_id for submission_id, _ in pending]
            root, tiles = plant([submission for _, submission in pending])
            return await writing.insert_tree(root, tiles, ids)
