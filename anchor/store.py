"""Submissions, anchors and tiles in PostgreSQL, for the gRPC server."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg

from anchor.submission import Anchor, Leaf, Location, Offer, Progress, Submission
from mesh import audit, idempotency
from mesh.clock import IdSource
from mesh.database import load_queries, reached
from mesh.errors import AnchorConflict
from mesh.idempotency import RequestKey
from trust.canonical import SubjectKind

SQL = Path(__file__).parent / "sql"
MIGRATIONS = Path(__file__).parent / "migrations"
AUDIT_COLUMNS = (
    *("audit_ids", "actor_kinds", "actor_ids", "audit_methods", "resources", "audit_request_ids"),
    *("address_prefixes", "details"),
)
PROGRESS: Mapping[str | None, Progress] = {
    None: Progress.PENDING,
    "built": Progress.SUBMITTED,
    "signed": Progress.SUBMITTED,
    "sent": Progress.SUBMITTED,
    "mined": Progress.MINED,
    "final": Progress.FINAL,
}


class Store:
    """The server's statements, on a pool of the role `voketag_anchor`. All raise DependencyUnavailable."""

    def __init__(self, pool: "asyncpg.Pool[Any]", new_id: IdSource) -> None:
        self._pool = pool
        self._queries = load_queries(SQL)
        self._new_id = new_id

    def offer(self, submission: Submission, key: RequestKey, *, urgent: bool = False) -> Offer:
        """A root as its caller hands it in; to be made in the call itself, which the audit row names."""
        detail = {"kind": submission.kind, "root": submission.root.hex(), "size": submission.size}
        if urgent:
            detail["urgent"] = True
        entry = audit.entry(resource=f"anchor/{submission.subject_id}", request_id=key.request_id, detail=detail)
        return Offer(self._new_id(), submission, key, entry, urgent)

    async def take(self, offers: Sequence[Offer]) -> dict[UUID, datetime]:
        """Takes roots durably in one commit: when, by submission id. Those without were there before, or their request.

        Raises UniqueViolationError, DeadlockDetectedError when others claim the same at the same time: none was taken.
        """
        submissions, keys = [offer.submission for offer in offers], [offer.key for offer in offers]
        entries = zip(*[offer.entry for offer in offers], strict=True)
        with reached():
            rows = self._queries.take(
                self._pool,
                submission_ids=[offer.submission_id for offer in offers],
                kinds=[submission.kind for submission in submissions],
                subject_ids=[submission.subject_id for submission in submissions],
                sizes=[submission.size for submission in submissions],
                roots=[submission.root for submission in submissions],
                urgent=[offer.urgent for offer in offers],
                callers=[key.caller for key in keys],
                request_ids=[key.request_id for key in keys],
                methods=[key.method for key in keys],
                digests=[key.digest for key in keys],
                **dict(zip(AUDIT_COLUMNS, map(list, entries), strict=True)),
            )
            return {row["submission_id"]: row["created_at"] async for row in rows}

    async def submit(self, offer: Offer) -> Anchor:
        """Takes one root in a commit of its own, or gives the anchor that it has.

        Raises AnchorConflict when another root was submitted for the subject, RequestIdReused.
        """
        try:
            taken = await self.take([offer])
        except asyncpg.UniqueViolationError:
            taken = {}
        if create_time := taken.get(offer.submission_id):
            audit.settled()
            return Anchor(offer.submission_id, offer.submission, Progress.PENDING, create_time)
        with reached():
            return await self._submitted_before(offer)

    async def _submitted_before(self, offer: Offer) -> Anchor:
        submission = offer.submission
        async with self._pool.acquire() as connection, connection.transaction():
            row = await self._find(connection, submission.kind, submission.subject_id)
            # Without such a row the request_id belongs to another subject, and `claim` raises.
            await idempotency.claim(connection, offer.key, row["submission_id"] if row else offer.submission_id)
            assert row is not None, "a claim without a submission"
            anchor = _anchor(row)
            if anchor.submission != submission:
                raise AnchorConflict(batch_id=submission.subject_id)
            if offer.urgent and anchor.progress is Progress.PENDING:
                await self._queries.hurry(connection, submission_id=anchor.submission_id)
                await connection.execute(audit.INSERT, *offer.entry)
                audit.settled()
            else:
                audit.replayed()
            return anchor

    async def find(self, kind: SubjectKind, subject_id: UUID) -> Anchor | None:
        """How far a subject's anchoring is; None when nothing was submitted for it."""
        with reached():
            row = await self._find(self._pool, kind, subject_id)
        return _anchor(row) if row else None

    async def _find(self, connection: Any, kind: SubjectKind, subject_id: UUID) -> Any:
        return await self._queries.find_anchor(connection, kind=kind, subject_id=subject_id)

    async def final_after(self, position: int, limit: int) -> list[tuple[int, Anchor]]:
        """Anchors that became final after a position, with theirs, in order; they may end before the last one does."""
        with reached():
            rows = self._queries.final_anchors(self._pool, after=position, limit=limit)
            return [(row["position"], _anchor(row)) async for row in rows]

    async def tree(self, tree_id: int) -> tuple[bytes, int]:
        """Root and size of an anchored tree."""
        with reached():
            row = await self._queries.find_tree(self._pool, tree_id=tree_id)
        return row["root"], row["size"]

    async def tiles(self, tree_id: int, wanted: list[tuple[int, int]]) -> dict[tuple[int, int], bytes]:
        """The hashes of these tiles (level, number) of a tree."""
        levels, numbers = [level for level, _ in wanted], [number for _, number in wanted]
        with reached():
            rows = self._queries.read_tiles(self._pool, tree_id=tree_id, levels=levels, numbers=numbers)
            return {(row["level"], row["number"]): row["hashes"] async for row in rows}


def _anchor(row: Any) -> Anchor:
    submission = Submission(SubjectKind(row["kind"]), row["subject_id"], row["root"], row["size"])
    return Anchor(
        submission_id=row["submission_id"],
        submission=submission,
        progress=PROGRESS[row["state"]],
        create_time=row["created_at"],
        leaf=None if row["tree_id"] is None else Leaf(row["tree_id"], row["leaf_index"]),
        location=_location(row),
        final_time=row["final_at"],
    )


def _location(row: Any) -> Location | None:
    if row["hash"] is None:
        return None
    return Location(row["chain_kind"], row["chain_id"], row["contract"], row["hash"], row["block_number"])
