"""Weekly reports for who reads them: listed, found and ordered."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from admin.errors import WeeklyReportNotFound
from admin.exports import role_of
from admin.files import Files, Link, Links
from admin.store import Store
from admin.users import FACTORY_ROLES
from admin.weeks import Week
from mesh import audit, idempotency
from mesh.clock import Clock, IdSource
from mesh.error import FieldViolation
from mesh.errors import FactoryNotFound, ValidationFailed
from mesh.idempotency import RequestKey
from mesh.identity import Principal
from mesh.jobs import Jobs
from mesh.paging import PageTokens

MAKE_WEEK = "weekly.make"
"""The job; its payload is the report's id."""
PAGE_SIZE = 100
NEWEST = UUID(int=2**128 - 1)


@dataclass(frozen=True, slots=True)
class WeekReport:
    """A report; the links where they were asked for and the files are kept."""

    report_id: UUID
    factory_id: UUID
    week: Week
    language: str
    state: str
    created_at: datetime
    finished_at: datetime | None
    pdf: Link | None = None
    xlsx: Link | None = None


def own_factory(actor: Principal) -> UUID | None:
    """Whose reports alone a person has; None: everybody's."""
    return actor.factory_id if role_of(actor) in FACTORY_ROLES else None


class WeekReports:
    """Finds and orders reports. Another factory's is as unknown as none."""

    def __init__(
        self,
        store: Store,
        jobs: Jobs,
        files: Files,
        links: Links,
        *,
        pages: PageTokens,
        clock: Clock,
        new_id: IdSource,
        language: str,
    ) -> None:
        self._store = store
        self._jobs = jobs
        self._files = files
        self._links = links
        self._pages = pages
        self._clock = clock
        self._new_id = new_id
        self._language = language

    async def list(
        self, actor: Principal, factory_id: UUID | None, *, page_size: int, page_token: str
    ) -> tuple[list[WeekReport], str]:
        """A page of at most `page_size`, 0 meaning 100, and the token of the next. Raises PageTokenInvalid."""
        own, size = own_factory(actor), page_size or PAGE_SIZE
        scope = f"weekly:{actor}:{factory_id}"
        before = UUID(self._pages.decode(page_token, scope=scope)) if page_token else NEWEST
        if own is not None and factory_id not in (None, own):
            return [], ""
        async with self._store.connection() as connection:
            rows = self._store.sql.select_weeks(
                connection, before=before, factory_id=own or factory_id, page_size=size + 1
            )
            found = [_report(row) async for row in rows]
        more = self._pages.encode(str(found[size - 1].report_id), scope=scope) if len(found) > size else ""
        return found[:size], more

    async def get(self, actor: Principal, report_id: UUID) -> WeekReport:
        """A report with its links. Raises WeeklyReportNotFound."""
        async with self._store.connection() as connection:
            row = await self._store.sql.select_week(connection, report_id=report_id, factory_id=own_factory(actor))
        if row is None:
            raise WeeklyReportNotFound(report_id=report_id)
        return _report(
            row, pdf=await self._link(actor, row["pdf_file"]), xlsx=await self._link(actor, row["xlsx_file"])
        )

    async def make(
        self, actor: Principal, request: RequestKey, *, factory_id: UUID | None, week: str, language: str
    ) -> WeekReport:
        """Orders a report; `week` and `language` may be empty. Raises FactoryNotFound, ValidationFailed."""
        own, now = own_factory(actor), self._clock.now()
        wanted, chosen = Week.named(week) if week else Week.last(now), own or factory_id
        if chosen is None or wanted.since > now:
            field = "factory_id" if chosen is None else "week"
            violation = FieldViolation(field, "weekly_report", "has to be there" if chosen is None else "has not begun")
            raise ValidationFailed(violations=(violation,), summary=f"{field}: {violation.description}")
        async with self._store.transaction() as connection:
            known = await self._store.sql.read_factory_name(connection, factory_id=chosen)
            if known is None or (own is not None and factory_id not in (None, own)):
                raise FactoryNotFound(factory_id=factory_id)
            await self._store.sql.lock_orders(connection, person=f"weekly reports of {chosen}")
            values = {"factory_id": chosen, "week": wanted.monday, "language": language or self._language}
            report_id = await self._store.sql.find_week(connection, **values) or self._new_id()
            if await idempotency.claim(connection, request, report_id) is None:
                await self._store.sql.insert_week(connection, report_id=report_id, **values)
                # No dedupe_key: the job of the order before may be past its look at the figures.
                await self._jobs.enqueue(connection, MAKE_WEEK, report_id.bytes)
                detail = {"factory_id": chosen, "week": wanted.name}
                await audit.record(
                    connection, resource=f"weekly_report/{report_id}", request_id=request.request_id, detail=detail
                )
        return await self.get(actor, report_id)

    async def _link(self, actor: Principal, file_id: UUID | None) -> Link | None:
        file = await self._files.find(file_id) if file_id else None
        return self._links.link(actor, file) if file else None


def _report(row: Any, **links: Link | None) -> WeekReport:
    return WeekReport(
        row["report_id"],
        row["factory_id"],
        Week(row["week"]),
        row["language"],
        row["state"],
        row["created_at"],
        row["finished_at"],
        **links,
    )
