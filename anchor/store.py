"""Submissions, anchors and tiles in PostgreSQL, for the gRPC server."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg

from anchor.evidence import Evidence, Place, TimeStamp
from anchor.freeze import Freeze
from anchor.registration import Registration, Signed
from anchor.status import OPEN, Backlog, ChainAccount, ChainStatus, Status
from anchor.submission import Anchor, Leaf, Location, Offer, Outcome, Progress, Submission
from mesh import audit, idempotency
from mesh.clock import IdSource
from mesh.database import load_queries, reached
from mesh.errors import AnchorConflict, AnchorNotFound, AnchorStateConflict, TransactionNotFound
from mesh.idempotency import RequestKey
from trust.canonical import SubjectKind

SQL = Path(__file__).parent / "sql"
MIGRATIONS = Path(__file__).parent / "migrations"
AUDIT_COLUMNS = (
    *("audit_ids", "actor_kinds", "actor_ids", "actor_roles", "audit_methods", "resources", "audit_request_ids"),
    *("address_prefixes", "details"),
)
PROGRESS: Mapping[str | None, Progress] = {
    None: Progress.PENDING,
    "submitted": Progress.SUBMITTED,
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
                await self._queries.hurry(connection, submission_ids=[anchor.submission_id])
                await connection.execute(audit.INSERT, *offer.entry)
                audit.settled()
            else:
                audit.replayed()
            return anchor

    async def submit_all(self, submissions: Sequence[Submission], key: RequestKey, *, urgent: bool) -> list[Outcome]:
        """Takes many roots of one kind in one commit: what came of each, in order. Raises RequestIdReused."""
        with reached():
            async with self._pool.acquire() as connection, connection.transaction():
                replay = await idempotency.claim(connection, key, self._new_id()) is not None
                taken = {} if replay else await self._take_all(connection, submissions, urgent=urgent)
                anchors = taken | await self._known(connection, submissions, taken)
                outcomes = [
                    Outcome(anchor.submission == submission, anchor)
                    for submission in submissions
                    for anchor in [anchors[submission.subject_id]]
                ]
                if not replay:
                    waiting = {each.anchor.submission_id for each in outcomes if each.accepted} if urgent else ()
                    await self._queries.hurry(connection, submission_ids=list(waiting))
                    detail = {"roots": len(outcomes), "taken": len(taken), "digest": key.digest.hex(), "urgent": urgent}
                    await audit.record(
                        connection, resource=f"anchors/{key.request_id}", request_id=key.request_id, detail=detail
                    )
                return outcomes

    async def _take_all(
        self, connection: Any, submissions: Sequence[Submission], *, urgent: bool
    ) -> dict[UUID, Anchor]:
        # In the order in which every process takes subjects, so that none waits for another in a circle.
        ordered = sorted(submissions, key=lambda submission: submission.subject_id)
        rows = self._queries.take_all(
            connection,
            submission_ids=[self._new_id() for _ in ordered],
            kind=ordered[0].kind,
            subject_ids=[submission.subject_id for submission in ordered],
            sizes=[submission.size for submission in ordered],
            roots=[submission.root for submission in ordered],
            urgent=urgent,
        )
        return {row["subject_id"]: _anchor(row) async for row in rows}

    async def _known(
        self, connection: Any, submissions: Sequence[Submission], taken: Mapping[UUID, Anchor]
    ) -> dict[UUID, Anchor]:
        wanted = [submission.subject_id for submission in submissions if submission.subject_id not in taken]
        rows = self._queries.find_anchors(connection, subject_ids=wanted, kind=submissions[0].kind)
        return {row["subject_id"]: _anchor(row) async for row in rows} if wanted else {}

    async def find(self, kind: SubjectKind, subject_id: UUID) -> Anchor | None:
        """How far a subject's anchoring is; None when nothing was submitted for it."""
        with reached():
            row = await self._find(self._pool, kind, subject_id)
        return _anchor(row) if row else None

    async def find_any(self, kinds: Sequence[SubjectKind], subject_id: UUID) -> Anchor | None:
        """How far the anchoring is of the first of these subjects that there is."""
        for kind in kinds:
            if anchor := await self.find(kind, subject_id):
                return anchor
        return None

    async def _find(self, connection: Any, kind: SubjectKind, subject_id: UUID) -> Any:
        return await self._queries.find_anchor(connection, kind=kind, subject_id=subject_id)

    async def find_all(self, kind: SubjectKind, subject_ids: Sequence[UUID]) -> dict[UUID, Anchor]:
        """The anchors of those subjects that have one."""
        with reached():
            rows = self._queries.find_anchors(self._pool, subject_ids=list(subject_ids), kind=kind)
            return {row["subject_id"]: _anchor(row) async for row in rows}

    async def page(
        self,
        *,
        before: UUID,
        progress: Progress | None,
        batch_ids: Sequence[UUID] | None,
        between: tuple[datetime, datetime],
        limit: int,
    ) -> list[Anchor]:
        """Batches' anchors with ids below `before`, the highest first; `between` is [from, to) of their acceptance."""
        states = None if progress is None else [name for name, known in PROGRESS.items() if known is progress]
        pending = progress is Progress.PENDING
        with reached():
            rows = self._queries.list_anchors(
                self._pool,
                kind=SubjectKind.BATCH,
                before=before,
                states=None if pending else states,
                pending=pending,
                subject_ids=None if batch_ids is None else list(batch_ids),
                from_time=between[0],
                to_time=between[1],
                limit=limit,
            )
            return [_anchor(row) async for row in rows]

    async def retry(self, subject_id: UUID, key: RequestKey) -> Anchor:
        """Hurries a batch's root that is on no chain yet.

        Raises AnchorNotFound, AnchorStateConflict, RequestIdReused.
        """
        with reached():
            async with self._pool.acquire() as connection, connection.transaction():
                row = await self._find(connection, SubjectKind.BATCH, subject_id)
                if row is None:
                    raise AnchorNotFound(batch_id=subject_id)
                anchor = _anchor(row)
                if await idempotency.claim(connection, key, anchor.submission_id) is not None:
                    return anchor
                if anchor.progress >= Progress.MINED:
                    raise AnchorStateConflict(batch_id=subject_id, state=anchor.progress.name)
                await self._queries.hurry(connection, submission_ids=[anchor.submission_id])
                if anchor.leaf is not None:
                    await self._queries.retry_transaction(connection, tree_id=anchor.leaf.tree_id)
                resource, detail = f"anchor/{subject_id}", {"hurried": anchor.progress.name}
                await audit.record(connection, resource=resource, request_id=key.request_id, detail=detail)
                return anchor

    async def freeze(self) -> Freeze:
        """Whether anchoring stands still."""
        with reached():
            return _freeze(await self._queries.read_freeze(self._pool))

    async def set_freeze(self, key: RequestKey, *, frozen: bool, why: str) -> Freeze:
        """Stops the submitter, or lets it go on. Raises RequestIdReused."""
        with reached():
            async with self._pool.acquire() as connection, connection.transaction():
                if await idempotency.claim(connection, key, self._new_id()) is not None:
                    return _freeze(await self._queries.read_freeze(connection))
                before = await self._queries.lock_freeze(connection)
                row = await self._queries.set_freeze(connection, frozen=frozen, why=why)
                detail = {name: audit.change(before[name], row[name]) for name in ("frozen", "why")}
                await audit.record(connection, resource="anchoring/all", request_id=key.request_id, detail=detail)
                return _freeze(row)

    async def status(self) -> Status:
        """What waits and what is on its way."""
        with reached():
            backlog = await self._queries.read_backlog(self._pool)
            chains = self._queries.chains(self._pool)
            targets = self._queries.waiting_targets(self._pool)
            return Status(
                freeze=_freeze(await self._queries.read_freeze(self._pool)),
                pending_roots=backlog["pending"],
                pending_seconds=backlog["pending_seconds"],
                lag_seconds=max(backlog["pending_seconds"], backlog["open_seconds"]),
                chains=tuple([_chain(row) async for row in chains]),
                targets=tuple([Backlog(*row.values()) async for row in targets]),
            )

    async def registration(self, hash_: bytes) -> Registration:
        """What a transaction registers. Raises TransactionNotFound."""
        with reached():
            row = await self._queries.find_registration(self._pool, hash=hash_)
            if row is None:
                raise TransactionNotFound(transaction="0x" + hash_.hex())
            signed = self._queries.signed_attempts(self._pool, tree_id=row["tree_id"], target=row["target"])
            attempts = [Signed(*each.values()) async for each in signed]
        columns = ("chain_id", "contract", "sender")
        return Registration(
            anchor_root=row["root"],
            size=row["size"],
            progress=PROGRESS[row["state"]],
            **{name: row[name] for name in columns},
            location=_location(row),
            attempts=tuple(attempts),
        )

    async def places(self, tree_id: int) -> list[Place]:
        """What every target has of a tree so far, in the order of its policy."""
        with reached():
            rows = self._queries.places_of(self._pool, tree_id=tree_id)
            return [_place(row) async for row in rows]

    async def evidence(self, anchor: Anchor) -> list[Evidence]:
        """All that proves a final anchor, in the order of its policy; nothing while it is not final."""
        if anchor.leaf is None or anchor.progress is not Progress.FINAL:
            return []
        with reached():
            rows = self._queries.evidence_of(self._pool, tree_id=anchor.leaf.tree_id)
            return [_evidence(row) async for row in rows]

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


def _freeze(row: Any) -> Freeze:
    return Freeze(row["frozen"], row["why"], row["changed_at"])


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


def _evidence(row: Any) -> Evidence:
    if (location := _location(row)) is not None:
        return Evidence(row["target"], location)
    return Evidence(row["target"], TimeStamp(row["evidence"], row["stamped_at"]))


def _place(row: Any) -> Place:
    contract = None if row["contract"] is None else (row["chain_id"], row["contract"])
    return Place(row["target"], contract, _location(row))


def _chain(row: Any) -> ChainStatus:
    account = ChainAccount(
        **{name: row[name] for name in ("target", "chain_id", "contract", "next_nonce")}, address=row["sender"]
    )
    return ChainStatus(account, {state: row[state] for state in OPEN}, row["lag_seconds"])


def _location(row: Any) -> Location | None:
    if row["hash"] is None:
        return None
    return Location(row["chain_kind"], row["chain_id"], row["contract"], row["hash"], row["block_number"])
