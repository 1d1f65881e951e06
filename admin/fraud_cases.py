"""Cases of fraud reports as the desk works on them. Scan keeps cases and their states; assignees and notes are here.

A change that reaches into both is made while the transaction here is open: Scan has it first, under an id that follows
from the request, then assignee, note and audit row are there with the commit. Whoever dies in between asks again: Scan
has the state then, so that nothing is left to ask of it, and the rest is written.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

from admin.rulings import derived
from admin.store import Store
from admin.users import ACTIVE, NEWEST, authorise
from mesh import audit, idempotency
from mesh.clock import IdSource
from mesh.database import Connection
from mesh.errors import CaseNotFound, ReportStateConflict, UserNotFound, UserStateConflict
from mesh.idempotency import RequestKey
from mesh.identity import Principal
from mesh.paging import PageTokens

PAGE_SIZE = 50
WORKERS = frozenset({"admin", "support"})
STEPS = {
    "OPEN": frozenset({"INVESTIGATING", "CONFIRMED", "DISMISSED"}),
    "INVESTIGATING": frozenset({"OPEN", "CONFIRMED", "DISMISSED"}),
    "CONFIRMED": frozenset({"INVESTIGATING"}),
    "DISMISSED": frozenset({"INVESTIGATING"}),
}
"""The states that a case may go to from each."""


@dataclass(frozen=True, slots=True)
class Note:
    """What somebody said of a case."""

    note_id: UUID
    author_id: UUID
    text: str
    noted_at: datetime


@dataclass(frozen=True, slots=True)
class FraudCase:
    """A case by its first report; `reports` counts that and those that came to it. `notes` are empty in lists.

    `state` and `kind` by the contract's names.
    """

    case_id: UUID
    reported_at: datetime
    state: str
    kind: str
    text: str
    product_id: UUID | None
    code: str
    country_code: str
    reports: int
    changed_at: datetime | None
    photo_sha256: bytes | None
    assignee_id: UUID | None
    notes: Sequence[Note] = ()


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which cases to list; None means any."""

    state: str | None = None
    product_id: UUID | None = None
    assignee_id: UUID | None = None
    unassigned: bool = False


@dataclass(frozen=True, slots=True)
class Change:
    """What to do with a case: None, and '' for the note, is what stays; `assigns` tells nobody from no change."""

    state: str | None
    assigns: bool
    assignee_id: UUID | None
    note: str


class Scan(Protocol):
    """The scan service."""

    async def set_state(self, request_id: UUID, case_id: UUID, *, state: str, expected: str, note: str) -> None:
        """Raises CaseNotFound, ReportStateConflict, DependencyUnavailable."""
        ...


class FraudCases:
    """Lists, shows and changes them."""

    def __init__(self, store: Store, scan: Scan, pages: PageTokens, *, new_id: IdSource) -> None:
        self._store = store
        self._scan = scan
        self._pages = pages
        self._new_id = new_id

    async def list(
        self, actor: Principal, wanted: Wanted, *, page_size: int, page_token: str
    ) -> tuple[Sequence[FraudCase], str]:
        """A page of at most `page_size`, 0 meaning 50, and the token of the next. Raises PageTokenInvalid."""
        scope = f"fraud cases:{actor}:{wanted}"
        before = UUID(self._pages.decode(page_token, scope=scope)) if page_token else NEWEST
        size = page_size or PAGE_SIZE
        filters = {name: getattr(wanted, name) for name in Wanted.__slots__}
        async with self._store.connection() as connection:
            rows = self._store.sql.fraud_cases(connection, before=before, page_size=size + 1, **filters)
            found = [FraudCase(**dict(row)) async for row in rows]
        more = self._pages.encode(str(found[size - 1].case_id), scope=scope) if len(found) > size else ""
        return found[:size], more

    async def get(self, case_id: UUID) -> FraudCase:
        """With its notes. Raises CaseNotFound."""
        async with self._store.connection() as connection:
            return await self._whole(connection, case_id)

    async def update(self, actor: Principal, request: RequestKey, case_id: UUID, change: Change) -> FraudCase:
        """The case as it is then.

        Raises CaseNotFound, ReportStateConflict, UserNotFound, UserStateConflict, AccessDenied, RequestIdReused,
        DependencyUnavailable.
        """
        async with self._store.transaction() as connection:
            await authorise(connection, self._store, actor, WORKERS)
            await self._store.sql.hold_case(connection, case_id=str(case_id))
            case = await self._case(connection, case_id)
            if await idempotency.claim(connection, request, case_id) is None:
                await self._change(connection, request, case, change, author=actor.uuid)
            return await self._whole(connection, case_id)

    async def _change(
        self, connection: Connection, request: RequestKey, case: FraudCase, change: Change, *, author: UUID
    ) -> None:
        detail: dict[str, object] = {}
        if change.assigns and change.assignee_id != case.assignee_id:
            await self._check_assignee(connection, change.assignee_id)
            await self._store.sql.assign_case(connection, case_id=case.case_id, assignee_id=change.assignee_id)
            detail["assignee_id"] = audit.change(case.assignee_id, change.assignee_id)
        if change.note:
            columns = {"note_id": self._new_id(), "case_id": case.case_id, "author_id": author, "text": change.note}
            await self._store.sql.insert_note(connection, **columns)
            detail |= {"note_id": columns["note_id"], "note": change.note}
        if change.state is not None and change.state != case.state:
            if change.state not in STEPS[case.state]:
                raise ReportStateConflict(state=case.state)
            await self._scan.set_state(
                derived(request), case.case_id, state=change.state, expected=case.state, note=change.note
            )
            detail["state"] = audit.change(case.state, change.state)
        if not detail:
            audit.replayed()
            return
        resource = f"fraud_case/{case.case_id}"
        await audit.record(connection, resource=resource, request_id=request.request_id, detail=detail)

    async def _check_assignee(self, connection: Connection, user_id: UUID | None) -> None:
        """Raises UserNotFound, UserStateConflict."""
        if user_id is None:
            return
        row = await self._store.sql.select_user(connection, user_id=user_id)
        if row is None:
            raise UserNotFound(user_id=user_id)
        if row["state"] != ACTIVE or row["role"] not in WORKERS:
            raise UserStateConflict(state=row["state"] if row["state"] != ACTIVE else row["role"])

    async def _case(self, connection: Connection, case_id: UUID) -> FraudCase:
        row: Any = await self._store.sql.fraud_case(connection, case_id=case_id)
        if row is None:
            raise CaseNotFound(case_id=case_id)
        return FraudCase(**dict(row))

    async def _whole(self, connection: Connection, case_id: UUID) -> FraudCase:
        case = await self._case(connection, case_id)
        notes = [Note(**dict(row)) async for row in self._store.sql.case_notes(connection, case_id=case_id)]
        return replace(case, notes=notes)
