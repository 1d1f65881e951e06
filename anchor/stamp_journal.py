"""What the stamper writes: the answers of a time-stamp authority, by tree."""

from dataclasses import dataclass

from anchor.evidence import TimeStamp
from anchor.target_journal import TargetJournal


@dataclass(frozen=True, slots=True)
class OwedStamp:
    """A tree that waits for its stamp; the root is 32 bytes."""

    tree_id: int
    root: bytes


class StampJournal(TargetJournal):
    """The stamps of one authority."""

    async def owed(self, limit: int) -> list[OwedStamp]:
        """Trees without a stamp, the oldest first."""
        rows = self._queries.owed_stamps(self._pool, target=self.target, limit=limit)
        return [OwedStamp(row["tree_id"], row["root"]) async for row in rows]

    async def keep(self, fence: int, tree_id: int, stamp: TimeStamp) -> None:
        """Keeps a stamp, with which the tree may be final. Raises LeaseLostError."""
        async with self.held(fence) as connection:
            await self._queries.keep_stamp(
                connection, tree_id=tree_id, target=self.target, evidence=stamp.response, stamped_at=stamp.time
            )
