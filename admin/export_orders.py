"""Exports that are ordered: made in the background, and found by who ordered them."""

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from admin.errors import ExportNotFound, ExportStateConflict
from admin.exports import ExportKind, Wanted, permitted, role_of
from admin.files import Link, Links, StoredFile
from admin.store import Store
from mesh import audit, idempotency
from mesh.clock import Clock, IdSource
from mesh.database import affected
from mesh.errors import AccessDenied, QuotaExceeded
from mesh.idempotency import RequestKey
from mesh.identity import Principal
from mesh.jobs import Jobs
from mesh.paging import PageTokens
from mesh.tables import TableFormat

MAKE = "export.make"
"""The job; its payload is the export's id."""
AT_ONCE = 5
"""Exports of one person under way."""
QUOTA_SECONDS = 30.0
CANCELLED = "CANCELLED"
PAGE_SIZE = 100
NEWEST = UUID(int=2**128 - 1)


@dataclass(frozen=True, slots=True)
class Order:
    """An export as somebody sees it; `link` when there is a file, with an empty path when it is another person's."""

    export_id: UUID
    user_id: UUID
    wanted: Wanted
    state: str
    row_count: int
    failure: str
    created_at: datetime
    finished_at: datetime | None
    link: Link | None


@dataclass(frozen=True, slots=True)
class Asked:
    """Which exports to list; None means any."""

    kind: str | None = None
    state: str | None = None
    user_id: UUID | None = None


class ExportOrders:
    """Takes orders, says what became of them, and calls them off.

    To whom it is not to be seen another person's order is as unknown as none.
    """

    def __init__(
        self, store: Store, jobs: Jobs, links: Links, pages: PageTokens, clock: Clock, *, new_id: IdSource
    ) -> None:
        self._store = store
        self._jobs = jobs
        self._links = links
        self._pages = pages
        self._clock = clock
        self._new_id = new_id

    async def start(self, actor: Principal, request: RequestKey, wanted: Wanted) -> Order:
        """Orders a file: row, job and audit are one transaction.

        Raises AccessDenied, QuotaExceeded, RequestIdReused, DependencyUnavailable.
        """
        wanted = permitted(actor, wanted)
        new = self._new_id()
        async with self._store.transaction() as connection:
            await self._store.sql.lock_orders(connection, person=f"exports of {actor}")
            first = await idempotency.claim(connection, request, new)
            if first is None:
                used = await self._store.sql.count_orders(connection, user_id=actor.uuid)
                if used >= AT_ONCE:
                    raise QuotaExceeded(retry_after=QUOTA_SECONDS, quota="exports", limit=AT_ONCE, used=used)
                await self._store.sql.insert_order(
                    connection, export_id=new, user_id=actor.uuid, role=role_of(actor), **asdict(wanted)
                )
                await self._jobs.enqueue(connection, MAKE, new.bytes)
                resource = f"export/{new}"
                await audit.record(connection, resource=resource, request_id=request.request_id, detail=asdict(wanted))
        return await self.get(actor, first or new)

    async def get(self, actor: Principal, export_id: UUID) -> Order:
        """Raises ExportNotFound, DependencyUnavailable."""
        return await self._find(actor, export_id, actor.uuid)

    async def list(self, actor: Principal, asked: Asked, *, page_size: int, page_token: str) -> tuple[list[Order], str]:
        """A page of at most `page_size`, 0 meaning 100, and the token of the next. Raises PageTokenInvalid."""
        scope, size = f"exports:{actor}:{asked}", page_size or PAGE_SIZE
        before = UUID(self._pages.decode(page_token, scope=scope)) if page_token else NEWEST
        whose = asked.user_id if _sees_all(actor) else actor.uuid
        if asked.user_id not in (None, whose):
            return [], ""
        values = asdict(asked) | {"user_id": whose, "before": before, "page_size": size + 1, "now": self._clock.now()}
        async with self._store.connection() as connection:
            rows = self._store.sql.select_orders(connection, **values)
            found = [self._order(actor, row) async for row in rows]
        more = self._pages.encode(str(found[size - 1].export_id), scope=scope) if len(found) > size else ""
        return found[:size], more

    async def cancel(self, actor: Principal, request: RequestKey, export_id: UUID) -> Order:
        """Calls off what is not finished: its file goes with it, so that whoever writes it can write no more.

        Raises ExportNotFound, ExportStateConflict, AccessDenied, RequestIdReused, DependencyUnavailable.
        """
        async with self._store.transaction() as connection:
            row = await self._store.sql.lock_order(connection, export_id=export_id)
            if row is None or not (row["user_id"] == actor.uuid or _sees_all(actor)):
                raise ExportNotFound(export_id=export_id)
            if row["user_id"] != actor.uuid and role_of(actor) != "admin":
                raise AccessDenied
            if await idempotency.claim(connection, request, export_id) is None:
                cancelled = await self._store.sql.cancel_order(connection, export_id=export_id, now=self._clock.now())
                if not affected(cancelled):
                    raise ExportStateConflict(state=row["state"])
                if row["file_id"] is not None:
                    await self._store.sql.drop_file(connection, file_id=row["file_id"])
                detail = {"state": audit.change(row["state"], CANCELLED)}
                resource = f"export/{export_id}"
                await audit.record(connection, resource=resource, request_id=request.request_id, detail=detail)
        return await self._find(actor, export_id, None)

    async def _find(self, actor: Principal, export_id: UUID, user_id: UUID | None) -> Order:
        async with self._store.connection() as connection:
            row = await self._store.sql.select_order(
                connection, export_id=export_id, user_id=user_id, now=self._clock.now()
            )
        if row is None:
            raise ExportNotFound(export_id=export_id)
        return self._order(actor, row)

    def _order(self, actor: Principal, row: Any) -> Order:
        return Order(
            row["export_id"],
            row["user_id"],
            wanted_of(row),
            state=row["state"],
            row_count=row["row_count"],
            failure=row["failure"],
            created_at=row["created_at"],
            finished_at=row["finished_at"],
            link=self._link(actor, row) if row["file_id"] is not None else None,
        )

    def _link(self, actor: Principal, row: Any) -> Link | None:
        """The file may have been made for another role or factory than the person has now."""
        file = StoredFile(
            row["file_id"],
            row["name"],
            row["media_type"],
            size=row["size"],
            sha256=row["sha256"],
            expires_at=row["expires_at"],
        )
        same_rights = row["role"] == role_of(actor) and actor.factory_id in (None, row["factory_id"])
        if row["user_id"] == actor.uuid and same_rights:
            return self._links.link(actor, file)
        return Link("", file.expires_at, file) if _sees_all(actor) else None


def _sees_all(actor: Principal) -> bool:
    return role_of(actor) in ("admin", "auditor")


def wanted_of(row: Any) -> Wanted:
    """What an order is of."""
    return Wanted(
        ExportKind(row["kind"]), TableFormat(row["format"]), row["from_time"], row["to_time"], row["factory_id"]
    )
