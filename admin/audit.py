"""The audit log as people read it: entries, pages of them, exports, and what proves them."""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from itertools import accumulate
from typing import Any

from admin.store import Store
from mesh.errors import NotLogged
from mesh.identity import Principal
from mesh.ledger import Ledger, NotLoggedError, Signed
from mesh.paging import PageTokens
from trust.auditlog import AuditEntry, LogRow, checkpoint_to_json, row_to_json
from trust.ledger import genesis
from trust.merkle import HASH_BYTES
from trust.tiles import ENTRIES

PAGE_SIZE = 100
STRETCH = 4 * ENTRIES
MOST_BYTES = 1 << 20
"""Of details in a page, and of an export's piece: a detail itself has 64 KiB at most, a message 4 MiB."""
LOOKED_AT = 3_000
"""Entries that a page looks at: two filters that seldom meet may take several pages."""
LEADING = (
    ("resource", "by_resource"),
    ("actor_id", "by_actor"),
    ("result", "by_result"),
    ("method", "by_method"),
    ("source", "by_source"),
)
"""What pages are read by, an index each, the one first that most likely leaves least."""
LAST_TIME = datetime.max.replace(tzinfo=UTC)
LAST_NUMBER = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Filter:
    """Which entries; None means any. `to_time` is the first moment that is too late."""

    actor_kind: str | None = None
    actor_id: str | None = None
    method: str | None = None
    resource: str | None = None
    source: str | None = None
    result: str | None = None
    from_time: datetime | None = None
    to_time: datetime | None = None


@dataclass(frozen=True, slots=True)
class Numbered:
    """An entry and its place in the log, from 0."""

    number: int
    entry: AuditEntry


@dataclass(frozen=True, slots=True)
class Proved:
    """That an entry, by its bytes and their hash, is number `number` in the tree of a signed checkpoint."""

    number: int
    entry: bytes
    leaf_hash: bytes
    path: tuple[bytes, ...]
    note: bytes


def entry_of(row: Mapping[str, Any]) -> AuditEntry:
    """A row of the log, or of a service's audit."""
    columns = {"time": row["at"], **{name: row[name] for name in AuditEntry._fields if name != "time"}}
    return AuditEntry(**columns)


def _leading(wanted: Filter) -> dict[str, str | None]:
    """Of several filters the one that a page is read by."""
    by: dict[str, str | None] = dict.fromkeys((name for _, name in LEADING), None) | {"by_kind": None}
    for name, given in LEADING:
        value = getattr(wanted, name)
        if value is not None and (name, value) != ("result", "OK"):  # which has no index
            return by | {given: value} | ({"by_kind": wanted.actor_kind} if name == "actor_id" else {})
    return by


def _fitting(found: Sequence[Numbered]) -> int:
    """How many of them fit into a page; one at least."""
    sizes = accumulate(len(each.entry.detail.encode()) for each in found)
    return max(1, sum(size <= MOST_BYTES for size in sizes))


class AuditLog:
    """Reads the log. All raise DependencyUnavailable."""

    def __init__(self, store: Store, ledger: Ledger, pages: PageTokens, *, looked_at: int = LOOKED_AT) -> None:
        self._store = store
        self._ledger = ledger
        self._pages = pages
        self._looked_at = looked_at

    async def page(
        self, actor: Principal, wanted: Filter, *, page_size: int, page_token: str
    ) -> tuple[list[Numbered], str]:
        """A page of at most `page_size`, 0 meaning 100, newest first, and the token of the next.

        It is short when it has looked at as many as it may, or would be too long. Raises PageTokenInvalid.
        """
        scope = f"audit:{actor}:{wanted}"
        size, values = page_size or PAGE_SIZE, asdict(wanted)
        before = (values.pop("to_time") or LAST_TIME, -1 if wanted.to_time else LAST_NUMBER)
        if page_token:
            at, number = self._pages.decode(page_token, scope=scope).split(" ")
            before = (datetime.fromisoformat(at), int(number))
        span = {"before_at": before[0], "before_number": before[1], "from_time": values.pop("from_time")}
        span |= _leading(wanted)
        sql, looked = self._store.sql, self._looked_at
        async with self._store.transaction() as connection:
            await sql.plan_each_time(connection)
            rows = sql.audit_page(connection, **span, looked=looked, page_size=size + 1, **values)
            found = [Numbered(row["number"], entry_of(row)) async for row in rows]
            size = min(size, _fitting(found))
            if len(found) > size:
                end = found[size - 1].entry.time, found[size - 1].number
            else:
                end = await sql.audit_looked_until(connection, **span, looked=looked - 1)
        token = self._pages.encode(f"{end[0].isoformat()} {end[1]}", scope=scope) if end else ""
        return found[:size], token

    async def get(self, number: int) -> Numbered:
        """Raises NotLogged."""
        async with self._store.connection() as connection:
            row = await self._store.sql.audit_entry(connection, number=number)
        if row is None:
            raise NotLogged
        return Numbered(number, entry_of(row))

    async def export(self, wanted: Filter, first: int) -> AsyncIterator[bytes]:
        """Lines in pieces, the oldest entry first, from the place `first` up to what is the newest when it begins.

        Without a filter each checkpoint stands behind the last entry that it is signed for.
        """
        async with self._store.connection() as connection:
            size = (await self._ledger.standing(connection)).size
        while first < size:
            stop = min(size, (first // STRETCH + 1) * STRETCH)
            piece = bytearray()
            for line in await self._lines(wanted, first, stop):
                piece += line.encode() + b"\n"
                if len(piece) > MOST_BYTES:
                    yield bytes(piece)
                    piece.clear()
            if piece:
                yield bytes(piece)
            first = stop

    async def keys(self) -> tuple[str, Sequence[str]]:
        """The name of the log, and the public keys that ever signed for it (C2SP vkey), the newest first."""
        async with self._store.connection() as connection:
            return self._ledger.origin, await self._ledger.keys(connection)

    async def checkpoint(self, size: int) -> Signed:
        """The checkpoint of so many entries, 0 for the latest. Raises NotLogged."""
        async with self._store.connection() as connection:
            signed = await self._ledger.signed(connection, size)
        if signed is None:
            raise NotLogged
        return signed

    async def inclusion(self, number: int, size: int) -> Proved:
        """Where an entry is in the tree of the checkpoint of `size` entries, 0 for the latest. Raises NotLogged."""
        signed = await self.checkpoint(size)
        try:
            async with self._store.connection() as connection:
                found = await self._ledger.inclusion(connection, number, signed.size)
        except NotLoggedError as error:
            raise NotLogged from error
        entry = (await self.get(number)).entry.bytes_after(found.previous)
        return Proved(number, entry, found.own, found.path, signed.note)

    async def consistency(self, old: int, new: int) -> tuple[int, Sequence[bytes]]:
        """The size `new`, 0 being the latest checkpoint's, and the proof that its tree contains that of `old`.

        Raises NotLogged.
        """
        latest = (await self.checkpoint(0)).size
        new = new or latest
        if new > latest:
            raise NotLogged
        try:
            async with self._store.connection() as connection:
                return new, await self._ledger.consistency(connection, old, new)
        except NotLoggedError as error:
            raise NotLogged from error

    async def _lines(self, wanted: Filter, first: int, stop: int) -> list[str]:
        """The lines of a stretch of the log that lies within four tiles."""
        async with self._store.transaction() as connection:
            await self._store.sql.plan_each_time(connection)
            found = self._store.sql.audit_stretch(connection, first=first, stop=stop, **asdict(wanted))
            rows = [row async for row in found]
            hashes = await self._hashes(connection, first, stop) if rows else []
            notes = {} if wanted != Filter() else await self._ledger.notes(connection, first + 1, stop)
        lines = []
        for row in rows:
            number = row["number"]
            lines.append(row_to_json(LogRow(number, hashes[number - first], entry_of(row))))
            if number + 1 in notes:
                lines.append(checkpoint_to_json(notes[number + 1]))
        return lines

    async def _hashes(self, connection: Any, first: int, stop: int) -> list[bytes]:
        """The hash of the entry before each of these places."""
        before = max(first - 1, 0)
        tiles = range(before // ENTRIES, (stop - 1) // ENTRIES + 1)
        joined = b"".join([await self._ledger.tile(connection, 0, number) for number in tiles])
        start = (before % ENTRIES) * HASH_BYTES
        hashes = [joined[at : at + HASH_BYTES] for at in range(start, len(joined), HASH_BYTES)]
        return hashes if first else [genesis(self._ledger.origin), *hashes]
