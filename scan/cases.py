"""Cases of reports as staff see and decide them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from mesh import audit, idempotency
from mesh.errors import CaseNotFound, ReportStateConflict
from mesh.idempotency import RequestKey
from mesh.paging import PageTokens
from scan.store import Store
from scan.tallies import Tallies

PAGE_SIZE = 50


@dataclass(frozen=True, slots=True)
class Case:
    """A case by its first report; `reports` counts that and its notes. `state` and `kind` by the contract's names."""

    case_id: UUID
    reported_at: datetime
    state: str
    kind: str
    text: str
    product_id: UUID | None
    code: str
    country_code: str
    note: str
    changed_at: datetime | None
    reports: int


@dataclass(frozen=True, slots=True)
class CasePage:
    """Cases, newest first, and the token of the next page, '' after the last."""

    cases: Sequence[Case]
    next_page_token: str


class Cases:
    """Lists and decides cases."""

    def __init__(self, store: Store, tallies: Tallies, pages: PageTokens) -> None:
        self._store = store
        self._tallies = tallies
        self._pages = pages

    async def list(
        self, caller: str, *, state: str | None, product_id: UUID | None, page_size: int, page_token: str
    ) -> CasePage:
        """A page of at most `page_size` cases, 0 meaning 50. Raises PageTokenInvalid, DependencyUnavailable."""
        scope = f"cases:{caller}:{state}:{product_id}"
        before = UUID(self._pages.decode(page_token, scope=scope)) if page_token else None
        size = page_size or PAGE_SIZE
        rows = await self._store.cases(before=before, state=state, product_id=product_id, count=size + 1)
        page = [Case(**row) for row in rows[:size]]
        more = self._pages.encode(str(page[-1].case_id), scope=scope) if len(rows) > size else ""
        return CasePage(page, more)

    async def decide(
        self, key: RequestKey, case_id: UUID, *, state: str, note: str, expected: str | None = None
    ) -> Case:
        """The case in its new state, of which scans know soon after; None expects no state before.

        Raises CaseNotFound, ReportStateConflict, RequestIdReused, DependencyUnavailable.
        """
        async with self._store.transaction() as connection:
            row = await self._store.case(connection, case_id)
            if row is None:
                raise CaseNotFound(case_id=case_id)
            if await idempotency.claim(connection, key, case_id) is None:
                before = await self._store.set_case_state(
                    connection, case_id, state=state, note=note, expected=expected
                )
                if before is None:
                    raise ReportStateConflict(state=row["state"])
                detail = {"state": audit.change(before, state), "note": note}
                await audit.record(
                    connection, resource=f"fraud_case/{case_id}", request_id=key.request_id, detail=detail
                )
            row = await self._store.case(connection, case_id)
        if row is None:
            raise CaseNotFound(case_id=case_id)
        case = Case(**row)
        if case.product_id is not None:
            await self._tallies.tell(case.product_id)
        return case
