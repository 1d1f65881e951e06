"""What staff rule of products, batches and keys, above what their factories say.

A ruling that is in force is read with a product's card, and a notice of its transaction makes every process read the
card anew, so that no scan pays for it. The process that took the call may die right after the commit: the card does not
care, and what a clearing makes of the counts of reports is told by whoever asks again, or by the journal's next round.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from mesh import audit, idempotency
from mesh.clock import IdSource
from mesh.database import Connection
from mesh.errors import BatchNotFound, KeyNotFound, ProductNotFound, RulingNotFound
from mesh.idempotency import RequestKey
from scan.store import Store
from scan.tallies import Tallies
from trust.keyring import Keyring

BLOCK, REVOKE, CLEAR = "BLOCK", "REVOKE", "CLEAR"
PRODUCT, BATCH, KEY = "product", "batch", "key"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to rule: `subject` is `product/<id>`, `batch/<id>` or `key/<kid>`; `lifts` takes back what is in force."""

    kind: str
    subject: str
    lifts: bool
    note: str
    ruled_by: UUID


@dataclass(frozen=True, slots=True)
class Ruling(Wanted):
    """A ruling that was made."""

    ruling_id: UUID
    ruled_at: datetime


class Rulings:
    """Rules, and takes rulings back. Each is one transaction, with its audit row and its notice."""

    def __init__(self, store: Store, tallies: Tallies, keyring: Keyring, *, new_id: IdSource) -> None:
        self._store = store
        self._tallies = tallies
        self._keyring = keyring
        self._new_id = new_id

    async def rule(self, request: RequestKey, wanted: Wanted) -> Ruling:
        """The ruling that was made; the one in force where there is nothing to change.

        Raises ProductNotFound, BatchNotFound, KeyNotFound, RulingNotFound, RequestIdReused, DependencyUnavailable.
        """
        async with self._store.transaction() as connection:
            await self._check(connection, wanted.subject)
            await self._store.sql.hold_subject(connection, subject=wanted.subject)
            ruling = await self._rule(connection, request, wanted)
        if ruling.kind == CLEAR:
            await self._tallies.tell(UUID(ruling.subject.partition("/")[2]))
        return ruling

    async def _rule(self, connection: Connection, request: RequestKey, wanted: Wanted) -> Ruling:
        sql, subject, kind = self._store.sql, wanted.subject, wanted.kind
        standing = await sql.ruling_in_force(connection, subject=subject, kind=kind)
        stays = standing is not None and not wanted.lifts and kind != CLEAR
        ruling_id = standing["ruling_id"] if stays else self._new_id()
        first = await idempotency.claim(connection, request, ruling_id)
        if first is not None:
            return _ruling(await sql.ruling(connection, ruling_id=first))
        if stays:
            audit.replayed()
            return _ruling(standing)
        if standing is not None:
            await sql.end_ruling(connection, ended_by=ruling_id, ruling_id=standing["ruling_id"])
        elif wanted.lifts:
            raise RulingNotFound(subject=subject)
        columns = {"kind": kind, "subject": subject, "lifts": wanted.lifts, "note": wanted.note}
        made = await sql.insert_ruling(connection, ruling_id=ruling_id, ruled_by=wanted.ruled_by, **columns)
        before = standing and str(standing["ruling_id"])
        in_force = audit.change(before, None if wanted.lifts else ruling_id)
        detail = {**columns, "ruling": in_force, "ruling_id": ruling_id, "ruled_by": wanted.ruled_by}
        await audit.record(connection, resource=subject, request_id=request.request_id, detail=detail)
        return _ruling(made)

    async def _check(self, connection: Connection, subject: str) -> None:
        """Raises for what there is not."""
        kind, _, name = subject.partition("/")
        if kind == KEY:
            if int(name) not in self._keyring.keys:
                raise KeyNotFound(kid=name)
        elif kind == BATCH:
            if not await self._store.sql.is_batch(connection, batch_id=UUID(name)):
                raise BatchNotFound(batch_id=name)
        elif not await self._store.sql.is_product(connection, product_id=UUID(name)):
            raise ProductNotFound


def _ruling(row: Mapping[str, Any]) -> Ruling:
    return Ruling(**{name: row[name] for name in Ruling.__dataclass_fields__})
