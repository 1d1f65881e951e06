"""What every target's process writes: its lease, and windows that close. Each write holds the lease, or fails."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import asyncpg

from anchor.store import SQL
from anchor.submission import Submission
from anchor.target import CHAIN, Policy
from mesh.database import load_queries
from trust.canonical import SubjectKind
from trust.tiles import Tile

FIRST = UUID(int=0)


class LeaseLostError(Exception):
    """Another process holds the target's lease: this one must not write."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """Pending roots: the age of the oldest (seconds), how many there are, up to a window's, whether any is urgent.

    `oldest` is the lowest id of their submissions.
    """

    seconds: float
    roots: int
    urgent: bool
    oldest: UUID


class TargetJournal:
    """A target's lease, and the windows, in PostgreSQL on a pool of the role `voketag_anchor`."""

    def __init__(self, pool: "asyncpg.Pool[Any]", target: str) -> None:
        self._pool = pool
        self._queries = load_queries(SQL)
        self.target = target
        # Under this name the one target of earlier versions has its lease, so that old and new exclude each other.
        self._lease = "submitter" if target == CHAIN else f"submitter:{target}"

    async def acquire(self, holder: UUID, seconds: float) -> int | None:
        """The fence of a lease of so many seconds; None while another holder has it."""
        fence: int | None = await self._queries.acquire_lease(
            self._pool, name=self._lease, holder=holder, seconds=seconds
        )
        return fence

    async def renew(self, fence: int, seconds: float) -> None:
        """Raises LeaseLostError."""
        if await self._queries.renew_lease(self._pool, name=self._lease, fence=fence, seconds=seconds) is None:
            raise LeaseLostError(f"fence {fence} is not the newest")

    async def release(self, fence: int) -> None:
        """Lets the next holder in at once."""
        await self._queries.release_lease(self._pool, name=self._lease, fence=fence)

    @asynccontextmanager
    async def held(self, fence: int) -> AsyncIterator[Any]:
        """The connection of a transaction during which the lease cannot pass on. Raises LeaseLostError."""
        async with self._pool.acquire() as connection, connection.transaction():
            if await self._queries.hold_lease(connection, name=self._lease, fence=fence) is None:
                raise LeaseLostError(f"fence {fence} is not the newest")
            yield connection

    @asynccontextmanager
    async def closing(self, fence: int) -> AsyncIterator["Closing"]:
        """A transaction in which one window closes, and no other meanwhile. Raises LeaseLostError."""
        async with self.held(fence) as connection:
            await self._queries.lock_windows(connection)
            yield Closing(connection, self._queries)

    async def waiting(self, limit: int, since: UUID = FIRST) -> Waiting | None:
        """What the next window would take of submissions with ids from `since` on; None when none is pending."""
        return _waiting(await self._queries.pending_window(self._pool, since=since, limit=limit))

    async def backed_up(self, limit: int) -> bool:
        """True while the target owes `limit` trees."""
        answer: bool = await self._queries.owes(self._pool, target=self.target, limit=limit)
        return answer

    async def frozen(self) -> bool:
        """True while nothing may be closed, signed or sent."""
        answer: bool = await self._queries.is_frozen(self._pool)
        return answer


class Closing:
    """A window that closes, in one transaction."""

    def __init__(self, connection: Any, queries: Any) -> None:
        self._connection = connection
        self._queries = queries

    async def waiting(self, limit: int) -> Waiting | None:
        """What this window would take; None when nothing is pending, as when another process was faster."""
        return _waiting(await self._queries.pending_window(self._connection, since=FIRST, limit=limit))

    async def pending(self, limit: int) -> list[tuple[UUID, Submission]]:
        """The oldest submissions without a tree."""
        return [
            (
                row["submission_id"],
                Submission(SubjectKind(row["kind"]), row["subject_id"], row["root"], row["size"]),
            )
            async for row in self._queries.pending_roots(self._connection, limit=limit)
        ]

    async def insert_tree(
        self, root: bytes, tiles: Sequence[Tile], submission_ids: Sequence[UUID], policy: Policy
    ) -> int:
        """The tree with its leaves, in the order of the ids, and what each target owes it: the tree's id."""
        run, queries, targets = self._connection, self._queries, list(policy.targets)
        tree_id: int = await queries.insert_tree(
            run, root=root, size=len(submission_ids), targets=targets, needed=policy.needed
        )
        await queries.insert_tiles(
            run,
            tree_id=tree_id,
            levels=[tile.level for tile in tiles],
            numbers=[tile.index for tile in tiles],
            hashes=[tile.hashes for tile in tiles],
        )
        status = await queries.place_leaves(run, tree_id=tree_id, submission_ids=submission_ids)
        assert status.split()[-1] == str(len(submission_ids)), f"a root has two leaves: {status}"
        await queries.insert_stamps(run, tree_id=tree_id, targets=targets)
        return tree_id


def _waiting(row: Any) -> Waiting | None:
    return Waiting(row["waited_seconds"], row["pending"], row["urgent"], row["oldest"]) if row else None
