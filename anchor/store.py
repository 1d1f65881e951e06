"""Submissions, anchors and tiles in PostgreSQL, for the gRPC server."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg

from anchor.submission import Anchor, Leaf, Location, Progress, Submission
from mesh import audit, idempotency
from mesh.clock import IdSource
from mesh.database import load_queries, reached
from mesh.errors import AnchorConflict
from mesh.idempotency import RequestKey
from trust.canonical import SubjectKind

SQL = Path(__file__).parent / "sql"
MIGRATIONS = Path(__file__).parent / "migrations"
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

    async def submit(self, submission: Submission, key: RequestKey) -> Anchor:
        """Takes a root, durably; the same one again gives the same anchor.

        Raises AnchorConflict when another root was submitted for the subject, RequestIdReused.
        """
        with reached():
            return await self._insert(submission, key) or await self._submitted_before(submission, key)

    async def _insert(self, submission: Submission, key: RequestKey) -> Anchor | None:
        """The new anchor; None when the subject or the request was there before."""
        submission_id = self._new_id()
        resource = f"anchor/{submission.subject_id}"
        detail = {"kind": submission.kind, "root": submission.root.hex(), "size": submission.size}
        entry = audit.entry(resource=resource, request_id=key.request_id, detail=detail)
        columns = ("audit_id", "actor_kind", "actor_id", "audit_method", "resource", "request_id")
        try:
            row = await self._queries.submit(
                self._pool,
                submission_id=submission_id,
                kind=submission.kind,
                subject_id=submission.subject_id,
                size=submission.size,
                root=submission.root,
                caller=key.caller,
                method=key.method,
                digest=key.digest,
                **dict(zip((*columns, "address_prefix", "detail"), entry, strict=True)),
            )
        except asyncpg.UniqueViolationError:
            return None
        if row is None:
            return None
        audit.settled()
        return Anchor(submission_id, submission, Progress.PENDING, row["created_at"])

    async def _submitted_before(self, submission: Submission, key: RequestKey) -> Anchor:
        async with self._pool.acquire() as connection, connection.transaction():
            row = await self._find(connection, submission.kind, submission.subject_id)
            # Without such a row the request_id belongs to another subject, and `claim` raises.
            await idempotency.claim(connection, key, row["submission_id"] if row else self._new_id())
            assert row is not None, "a claim without a submission"
            anchor = _anchor(row)
            if anchor.submission != submission:
                raise AnchorConflict(batch_id=submission.subject_id)
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
