"""What the desk rules of products, batches and keys. Scan keeps rulings and follows them; here it is who may rule.

The transaction stays open while Scan rules, under an id that follows from the request: whoever dies in between, or does
not hear the answer, asks again and gets the same ruling, and then the audit row here is written as well.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID, uuid5

from admin.store import Store
from admin.users import authorise
from mesh import audit, idempotency
from mesh.idempotency import RequestKey
from mesh.identity import Principal

REQUESTS = UUID("6a4e2d0e-6b0c-4c0f-9f53-6a0c7f1f2b11")
"""The namespace of the ids of requests to Scan."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to rule: `kind` is BLOCK, REVOKE or CLEAR; `subject` is `product/<id>`, `batch/<id>` or `key/<kid>`."""

    kind: str
    subject: str
    lifts: bool
    note: str


@dataclass(frozen=True, slots=True)
class Ruling(Wanted):
    """A ruling that was made."""

    ruling_id: UUID
    ruled_by: UUID
    ruled_at: datetime


class Scan(Protocol):
    """The scan service."""

    async def rule(self, request_id: UUID, wanted: Wanted, ruled_by: UUID) -> Ruling:
        """Raises ProductNotFound, BatchNotFound, KeyNotFound, RulingNotFound, DependencyUnavailable."""
        ...


def derived(request: RequestKey) -> UUID:
    """The id of the request to Scan that follows from one of a person."""
    return uuid5(REQUESTS, f"{request.caller}:{request.request_id}")


class Rulings:
    """Rules."""

    def __init__(self, store: Store, scan: Scan) -> None:
        self._store = store
        self._scan = scan

    async def rule(self, actor: Principal, request: RequestKey, wanted: Wanted) -> Ruling:
        """The ruling that was made, or that stands already.

        Raises ProductNotFound, BatchNotFound, KeyNotFound, RulingNotFound, AccessDenied, RequestIdReused,
        DependencyUnavailable.
        """
        request_id = derived(request)
        async with self._store.transaction() as connection:
            await authorise(connection, self._store, actor)
            first = await idempotency.claim(connection, request, request_id)
            ruling = await self._scan.rule(request_id, wanted, actor.uuid)
            if first is None:
                detail = {
                    "kind": wanted.kind,
                    "lifts": wanted.lifts,
                    "note": wanted.note,
                    "ruling_id": ruling.ruling_id,
                }
                await audit.record(connection, resource=wanted.subject, request_id=request.request_id, detail=detail)
        return ruling
