"""A window: the roots that wait together and become one tree."""

from dataclasses import dataclass
from uuid import UUID

import structlog

from anchor.submission import Submission
from anchor.target import Policy
from anchor.target_journal import FIRST, TargetJournal, Waiting
from trust.canonical import anchor_leaf
from trust.merkle import leaf_hash
from trust.tiles import Tile, TileBuilder

log = structlog.get_logger()
WHOLE = 60
"""One look in so many is at everything that waits."""
MARGIN_MS = 60_000
"""So much older than the oldest root of the last look another may be, by the time in its id, and be seen at once."""


@dataclass(frozen=True, slots=True)
class WindowPolicy:
    """A window closes when its oldest root has waited `seconds`, `roots` are there, or one of them is urgent.

    None closes while a transaction waits to be sent, or `unmined` wait to be mined: the roots wait with them and make
    one larger tree. With several targets the process of one that keeps up closes it all the same.

    `targets` is where trees go, and when they are final.
    """

    seconds: float
    roots: int
    unmined: int = 16
    targets: Policy = Policy()  # noqa: RUF009 frozen

    def due(self, waiting: Waiting | None) -> bool:
        """True when the window is to be closed; also when the database's clock was set back behind the oldest root."""
        return waiting is not None and (
            waiting.roots >= self.roots or waiting.urgent or not 0 <= waiting.seconds < self.seconds
        )


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
    """Closes windows, one at a time in all processes."""

    def __init__(self, journal: TargetJournal, policy: WindowPolicy) -> None:
        self._journal = journal
        self._policy = policy
        self._looks = 0
        self._since = FIRST

    @classmethod
    def under(cls, policy: str, journal: TargetJournal, seconds: float, roots: int) -> "Windows":
        """As the settings say, which have to be the same in the processes of all targets."""
        targets = Policy.parse(policy)
        if journal.target not in targets.targets:
            log.warning("not in the policy: no new tree comes here", target=journal.target, policy=policy)
        return cls(journal, WindowPolicy(seconds, roots, targets=targets))

    async def waiting(self) -> Waiting | None:
        """What the next window would take; None when nothing is pending.

        Looks begin a little before the oldest root that was found last. A root with an older id, as from a process
        whose clock is behind, waits for a whole look or the next window, whichever is first.
        """
        since = self._since if self._looks % WHOLE else FIRST
        self._looks += 1
        waiting = await self._journal.waiting(self._policy.roots, since)
        if waiting:
            self._since = UUID(int=max(waiting.oldest.int - (MARGIN_MS << 80), 0))
        return waiting

    async def close_due(self, fence: int, waiting: Waiting | None) -> int | None:
        """Makes a tree of the pending roots, which each target owes something then, in one commit: the tree's id.

        None when none is due, anchoring is frozen, or another process was faster. Raises LeaseLostError.
        """
        if not self._policy.due(waiting):
            return None
        if await self._journal.frozen() or await self._journal.backed_up(self._policy.unmined):
            return None
        async with self._journal.closing(fence) as closing:
            if not self._policy.due(await closing.waiting(self._policy.roots)):
                return None
            pending = await closing.pending(self._policy.roots)
            ids: list[UUID] = [submission_id for submission_id, _ in pending]
            root, tiles = plant([submission for _, submission in pending])
            return await closing.insert_tree(root, tiles, ids, self._policy.targets)
