"""Who changed what: a row in the transaction of the change itself, in the schema of the service that made it."""

import json
from collections.abc import Mapping
from contextvars import ContextVar
from hashlib import sha256
from uuid import UUID

from mesh.clock import new_id
from mesh.database import Connection
from mesh.identity import address, caller

INSERT = """
INSERT INTO audit
  (audit_id, at, actor_kind, actor_id, actor_role, method, resource, request_id, address_prefix, detail)
VALUES ($1, now(), $2, $3, $4, $5, $6, $7, $8, $9)
"""


MASKED = "***"
"""What stands in an audit row for a secret, before and after."""
MOST_DETAIL = 65_536
"""Bytes of a detail; of a longer one the row has size and hash."""


def change(before: object, after: object) -> dict[str, object]:
    """What a row says of a field that had a value, under the field's name."""
    return {"before": before, "after": after}


class Ledger:
    """What one audited call has to account for."""

    def __init__(self, method: str) -> None:
        self.method = method
        self.settled = False


_call: ContextVar[Ledger | None] = ContextVar("audited_call", default=None)


def open_ledger(method: str) -> Ledger:
    """Starts accounting for a call; for the audit interceptor."""
    ledger = Ledger(method)
    _call.set(ledger)
    return ledger


def replayed() -> None:
    """Says that the call changed nothing, because it had been made before."""
    if ledger := _call.get():
        ledger.settled = True


def entry(
    *, resource: str, request_id: UUID | None, detail: Mapping[str, object], anonymous: bool = False
) -> tuple[object, ...]:
    """The values of the audit row but `at`, in the order of INSERT, for a store's own statement.

    `resource` is `kind/id`; `detail` holds the changed fields, each a `change`, or the new values of what was not
    there, and never a secret; `anonymous` leaves out where the call came from. Outside of calls the actor is the worker
    itself. Call `settled` when the row is committed.
    """
    ledger = _call.get()
    actor = caller()
    method = ledger.method if ledger else "worker"
    kind = actor.kind if ledger else "worker"
    place = "" if anonymous else address()
    role = ",".join(sorted(actor.roles))
    return (new_id(), kind, actor.id, role, method, resource, request_id, place, _text(detail))


def _text(detail: Mapping[str, object]) -> str:
    text = json.dumps(detail, default=str)
    if len(text) <= MOST_DETAIL:
        return text
    return json.dumps({"bytes": len(text), "sha256": sha256(text.encode()).hexdigest()})


def settled() -> None:
    """Says that the row of this call's `entry` is written."""
    if ledger := _call.get():
        ledger.settled = True


async def record(
    connection: Connection,
    *,
    resource: str,
    request_id: UUID | None,
    detail: Mapping[str, object],
    anonymous: bool = False,
) -> None:
    """Writes the audit row on the connection whose transaction makes the change; see `entry`."""
    row = entry(resource=resource, request_id=request_id, detail=detail, anonymous=anonymous)
    await connection.execute(INSERT, *row)
    settled()
