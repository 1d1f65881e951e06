r"""The audit log: who changed what, in entries that each commit to the one before, the leaves of one RFC 9162 tree.

An entry is ``"VTL\x01":4 || previous:32 || audit_id:16 || time_us:8`` (microseconds since 1970 UTC, signed), and then
as ``length:4 || bytes`` each, in UTF-8: source, actor_kind, actor_id, actor_role, method, resource, request_id (16
bytes or none), address_prefix, result, detail. Numbers are big-endian. As in the ledger of scans its hash is
``SHA-256(0x00 || entry)``, `previous` is the hash of the entry before it, and the first one's is `ledger.genesis`.
"""

import json
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import NamedTuple
from uuid import UUID

from trust.ledger import NOTHING_PERSONAL, EntryMalformedError
from trust.merkle import HASH_BYTES

_SCHEMA = b"VTL\x01"
_LEAF_PREFIX = b"\x00"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_TEXTS = ("source", "actor_kind", "actor_id", "actor_role", "method", "resource", "address_prefix", "result", "detail")


class AuditEntry(NamedTuple):
    """One change: `source` is the service that made it and `detail` the JSON text as it was logged.

    `actor_kind` is `user`, `factory`, `service`, `operator`, `public` or `worker`; `actor_role` is a person's, else
    empty; `result` is `OK`, or the reason that a change was refused for. `address_prefix` is a /24 or /48, or empty.
    """

    source: str
    audit_id: UUID
    time: datetime
    actor_kind: str
    actor_id: str
    actor_role: str
    method: str
    resource: str
    request_id: UUID | None
    address_prefix: str
    result: str
    detail: str

    @property
    def event_id(self) -> bytes:
        """The id of the entry: 16 bytes."""
        return self.audit_id.bytes

    @property
    def personal(self) -> bytes:
        """Nothing: what is personal is masked before it is logged."""
        return NOTHING_PERSONAL

    def bytes_after(self, previous: bytes) -> bytes:
        """Lay the entry out after the entry whose hash is `previous`. Raises EntryMalformedError."""
        if len(previous) != HASH_BYTES:
            raise EntryMalformedError(f"a hash has {HASH_BYTES} bytes")
        time_us = (self.time - _EPOCH) // _MICROSECOND
        request_id = self.request_id.bytes if self.request_id else b""
        try:
            texts = [field if isinstance(field, bytes) else field.encode() for field in self._texts(request_id)]
        except UnicodeEncodeError:
            raise EntryMalformedError("a text of the entry has no UTF-8") from None
        parts = [part for text in texts for part in (len(text).to_bytes(4, "big"), text)]
        head = (_SCHEMA, previous, self.audit_id.bytes, time_us.to_bytes(8, "big", signed=True))
        return b"".join((*head, *parts))

    def hash_after(self, previous: bytes) -> bytes:
        """Give the hash of the entry after the entry whose hash is `previous`. Raises EntryMalformedError."""
        return sha256(_LEAF_PREFIX + self.bytes_after(previous)).digest()

    def _texts(self, request_id: bytes) -> tuple[str | bytes, ...]:
        actor = (self.actor_kind, self.actor_id, self.actor_role)
        call = (self.method, self.resource, request_id, self.address_prefix)
        return (self.source, *actor, *call, self.result, self.detail)


class LogRow(NamedTuple):
    """An entry at the place that it claims, from 0, with the hash of the entry before it."""

    number: int
    previous: bytes
    event: AuditEntry
    opening: None = None


def row_to_json(row: LogRow) -> str:
    """Write a line of an export, without its newline: one JSON object, ASCII only."""
    entry = row.event
    fields: dict[str, object] = {"number": row.number, "previous": row.previous.hex(), "audit_id": str(entry.audit_id)}
    fields["time"] = entry.time.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    fields["request_id"] = str(entry.request_id or "")
    return json.dumps(fields | {name: getattr(entry, name) for name in _TEXTS}, separators=(",", ":"))


def checkpoint_to_json(note: bytes) -> str:
    """Write a line of an export that holds a signed checkpoint."""
    return json.dumps({"checkpoint": note.decode()}, separators=(",", ":"))


def row_from_json(fields: dict[str, object]) -> LogRow:
    """Read the object of a line. Raises EntryMalformedError, saying what is wrong."""
    try:
        texts = {name: fields[name] for name in (*_TEXTS, "previous", "audit_id", "time", "request_id")}
        if not all(isinstance(text, str) for text in texts.values()):
            raise EntryMalformedError("a field is not text")
        given: dict[str, str] = {name: str(text) for name, text in texts.items()}
        number, previous = fields["number"], bytes.fromhex(given.pop("previous"))
        if not isinstance(number, int) or number < 0 or len(previous) != HASH_BYTES:
            raise EntryMalformedError("number or previous are none")
        request_id = given.pop("request_id")
        entry = AuditEntry(
            audit_id=UUID(given.pop("audit_id")),
            time=_time(given.pop("time")),
            request_id=UUID(request_id) if request_id else None,
            **given,
        )
    except (KeyError, ValueError) as error:
        raise EntryMalformedError(f"the line is no entry: {error}") from error
    return LogRow(number, previous, entry)


def _time(text: str) -> datetime:
    time = datetime.fromisoformat(text)
    if time.tzinfo is None:
        raise ValueError("a time has its offset")
    return time
