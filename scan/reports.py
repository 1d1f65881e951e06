"""Reports of fraud, gathered in cases: what was seen, and of its reporter only what they wish to tell.

The first report on a code opens a case. What the same neighbourhood reports on the same code within 24 hours is a note
on that case; a report without a code is a case of its own. A report is kept when its answer is given: one whose answer
is lost may be kept or not, and the same request again finds the one there is.
"""

import asyncio
import hashlib
import hmac
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from uuid import UUID

import structlog

from mesh import audit, idempotency, tasks
from mesh.clock import IdSource
from mesh.database import Connection
from mesh.errors import DependencyUnavailable
from mesh.idempotency import RequestKey
from scan.report import Report
from scan.store import Store
from scan.tallies import Tallies

log = structlog.get_logger()
FORGET_SECONDS = 3600.0
FORGOTTEN_AT_ONCE = 5_000


class Reports:
    """Takes reports."""

    def __init__(self, store: Store, tallies: Tallies, *, new_id: IdSource) -> None:
        self._store = store
        self._tallies = tallies
        self._new_id = new_id

    async def take(self, key: RequestKey, prefix: str, report: Report) -> UUID:
        """The case of a report from an address prefix. Raises RequestIdReused, DependencyUnavailable."""
        report_id = self._new_id()
        async with self._store.transaction() as connection:
            first = await idempotency.claim(connection, key, report_id)
            if first is not None:
                return await self._store.case_of(connection, first)
            callers = [pseudonym(salt, prefix) for salt in await self._store.turn_salts(connection)]
            case_id = await self._case(connection, report, callers) or report_id
            await self._store.insert_report(connection, report, report_id=report_id, case_id=case_id, caller=callers[0])
            detail = {"report_id": report_id, "kind": report.kind, "product_id": report.product_id}
            resource = f"fraud_case/{case_id}"
            await audit.record(connection, resource=resource, request_id=key.request_id, detail=detail, anonymous=True)
        if report.product_id is not None:
            await self._tallies.tell(report.product_id)
        return case_id

    @asynccontextmanager
    async def requests_forgotten(self) -> AsyncIterator[None]:
        """Forgets in the background the requests that nobody repeats any more: a day after they were made."""
        forgetting = asyncio.create_task(self._forget())
        try:
            yield
        finally:
            await tasks.end(forgetting)

    async def _forget(self) -> None:
        while True:
            more = False
            try:
                async with self._store.transaction() as connection:
                    more = await self._store.forget_requests(connection, FORGOTTEN_AT_ONCE) == FORGOTTEN_AT_ONCE
            except DependencyUnavailable:
                pass  # they are forgotten an hour later
            except Exception:
                log.exception("old requests are not forgotten")
            await asyncio.sleep(0 if more else FORGET_SECONDS)

    async def _case(self, connection: Connection, report: Report, callers: Sequence[bytes]) -> UUID | None:
        if report.product_id is None and not report.code:
            return None
        return await self._store.open_case(connection, report, callers)


def pseudonym(salt: bytes, prefix: str) -> bytes:
    """What stands for an address prefix, as long as the salt lives: HMAC-SHA256 (RFC 2104)."""
    return hmac.digest(salt, prefix.encode(), hashlib.sha256)
