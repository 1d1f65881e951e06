"""Exports that are ordered: made in the background, and found by who ordered them."""

from dataclasses import asdict, dataclass
from datetime import datetime
from uuid import UUID

from admin.errors import ExportNotFound
from admin.exports import ExportKind, Wanted, permitted, role_of
from admin.files import Files, Link, Links
from admin.store import Store
from mesh import audit, idempotency
from mesh.clock import IdSource
from mesh.errors import QuotaExceeded
from mesh.idempotency import RequestKey
from mesh.identity import Principal
from mesh.jobs import Jobs
from mesh.tables import TableFormat

MAKE = "export.make"
"""The job; its payload is the export's id."""
AT_ONCE = 5
"""Exports of one person under way."""
QUOTA_SECONDS = 30.0
DONE = "DONE"


@dataclass(frozen=True, slots=True)
class Order:
    """An export as its person sees it; `link` when there is a file."""

    export_id: UUID
    wanted: Wanted
    state: str
    row_count: int
    failure: str
    created_at: datetime
    finished_at: datetime | None
    link: Link | None


class ExportOrders:
    """Takes orders, and says what became of them. Another person's order is as unknown as none."""

    def __init__(self, store: Store, jobs: Jobs, files: Files, links: Links, *, new_id: IdSource) -> None:
        self._store = store
        self._jobs = jobs
        self._files = files
        self._links = links
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
        async with self._store.connection() as connection:
            row = await self._store.sql.select_order(connection, export_id=export_id, user_id=actor.uuid)
        if row is None:
            raise ExportNotFound(export_id=export_id)
        own = row["role"] == role_of(actor) and actor.factory_id in (None, row["factory_id"])
        file = await self._files.find(row["file_id"]) if row["state"] == DONE and own else None
        return Order(
            row["export_id"],
            Wanted(
                ExportKind(row["kind"]),
                TableFormat(row["format"]),
                row["from_time"],
                row["to_time"],
                row["factory_id"],
            ),
            state=row["state"],
            row_count=row["row_count"],
            failure=row["failure"],
            created_at=row["created_at"],
            finished_at=row["finished_at"],
            link=self._links.link(actor, file) if file else None,
        )
