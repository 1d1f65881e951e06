"""The same request twice is one change (AIP-155): a row per request_id in the transaction of the change itself."""

import hashlib
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from google.protobuf.message import Message

from mesh import audit
from mesh.database import Connection, affected
from mesh.errors import RequestIdReused
from mesh.identity import caller

CLAIM = """
INSERT INTO idempotency (caller, request_id, method, digest, resource_id) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (caller, request_id) DO NOTHING RETURNING true
"""
FORGET = """
DELETE FROM idempotency
WHERE ctid = ANY(ARRAY(SELECT ctid FROM idempotency WHERE created_at < $1 ORDER BY created_at LIMIT $2))
"""
FIRST = "SELECT method, digest, resource_id FROM idempotency WHERE caller = $1 AND request_id = $2"


@dataclass(frozen=True, slots=True)
class RequestKey:
    """What makes a request the same: its caller, its id, its method and its body."""

    caller: str
    request_id: UUID
    method: str
    digest: bytes

    @classmethod
    def of(cls, method: str, request_id: str, message: Message) -> "RequestKey":
        """The key of a message sent by the caller of the call under way."""
        body = message.SerializeToString(deterministic=True)
        return cls(str(caller()), UUID(request_id), method, hashlib.sha256(body).digest())


async def claim(
    connection: Connection,
    key: RequestKey,
    resource_id: UUID,
) -> UUID | None:
    """None when this is the first such request, which now owns `resource_id`; else the resource of the first.

    Must run in the transaction of the change: a second request waits here until the first has committed or gone.
    Raises RequestIdReused when the id was used for something else.
    """
    if await connection.fetchval(CLAIM, key.caller, key.request_id, key.method, key.digest, resource_id):
        return None
    row = await connection.fetchrow(FIRST, key.caller, key.request_id)
    if row is None or (row["method"], row["digest"]) != (key.method, key.digest):
        raise RequestIdReused(request_id=key.request_id)
    audit.replayed()
    first: UUID = row["resource_id"]
    return first


async def forget(connection: Connection, before: datetime, limit: int) -> int:
    """Removes so many of the requests made before then, the oldest first: how many it removed."""
    return affected(await connection.execute(FORGET, before, limit))
