"""A ledger in PostgreSQL: its end, its tiles and its signed checkpoints; docs/ledger.md says what they prove.

Entries are appended within the transaction that writes their rows. Lost before its commit: all of it, entries too.
After it: nothing. A checkpoint is signed for what is committed only; lost before its row is committed, it was shown to
nobody, and the next one is signed over at least as much.
"""

from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, TypeAlias

import asyncpg

from mesh.database import Connection, load_queries
from mesh.lead import key_of, lead
from trust import tiles
from trust.alignment import Placed
from trust.checkpoint import Checkpoint, sign_checkpoint
from trust.ledger import Appended, Event, State, append, genesis
from trust.note import Signer

PAGE = 1000
_MOST_TILES = (1 << 63) - 1

Rows = Callable[[int], AsyncIterator[Sequence[Placed]]]
"""Gives the journal's rows of the ledger from a number on, in pages, by number."""

Database: TypeAlias = "asyncpg.Pool[Any] | Connection"


class LedgerForeignError(Exception):
    """The database holds the ledger of another origin than this service is configured for."""


class LedgerDamagedError(Exception):
    """The stored tiles are not those of the ledger: it must be audited before anything is appended or signed."""


class NotLoggedError(Exception):
    """The ledger has no such entry, or is not that large."""


@dataclass(frozen=True, slots=True)
class Inclusion:
    """Where an entry is: the hash of the entry before it, its own, and its path to the root; each hash 32 bytes."""

    previous: bytes
    own: bytes
    path: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Signed:
    """A signed checkpoint: the number of entries, and the note."""

    size: int
    note: bytes


@dataclass(frozen=True, slots=True)
class Standing:
    """How many entries there are and are signed for, when the last checkpoint was signed, and how many Anchor lacks."""

    size: int
    signed: int
    signed_at: datetime | None
    unsubmitted: int


class Ledger:
    """The ledger `origin`, in the schema that a connection sees first: that of scans, or that of the audit log."""

    def __init__(self, origin: str) -> None:
        self.origin = origin
        self.queries = load_queries(Path(__file__).parent / "sql")

    async def append(self, connection: Connection, events: Sequence[Event]) -> int:
        """Append events in their order, within the caller's transaction (READ COMMITTED): the number of the first.

        Raises EntryMalformedError, and what `hold` does, each before anything is written.
        """
        state = await self.hold(connection)
        if events:
            await self.put(connection, append(state, events))
        return state.size

    async def hold(self, connection: Connection) -> State:
        """The ledger's end, held until the caller's transaction ends.

        Waits for whoever appends at the same time to commit, and makes others wait until the caller has. Raises
        LedgerForeignError and LedgerDamagedError.
        """
        if not connection.is_in_transaction():
            raise RuntimeError("entries are appended within a transaction, or their rows and they could part")
        row = await self.queries.hold_ledger(connection)
        if row is None:
            await self.queries.begin_ledger(connection, origin=self.origin, last=genesis(self.origin))
            row = await self.queries.hold_ledger(connection)
        return await self._state(connection, row)

    async def put(self, connection: Connection, appended: Appended) -> None:
        """Write what was appended to the state that `hold` gave, in the same transaction."""
        levels, numbers, hashes = zip(*[(tile.level, tile.index, tile.hashes) for tile in appended.tiles], strict=True)
        await self.queries.put_tiles(connection, levels=levels, numbers=numbers, hashes=hashes)
        await self.queries.move_ledger(connection, size=appended.state.size, last=appended.state.last)

    async def sign(self, connection: Connection, signer: Signer, now: datetime) -> Checkpoint | None:
        """Sign the ledger as it is committed, and keep the checkpoint; None if nothing was appended since the last.

        Raises LedgerForeignError, and LedgerDamagedError rather than sign a tree that does not contain the last one.
        """
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            row = await self.queries.read_ledger(connection)
            latest = await self.queries.latest_checkpoint(connection)
            if row is None or row["size"] == (latest["size"] if latest else 0):
                return None
            checkpoint = Checkpoint(self.origin, row["size"], (await self._state(connection, row)).root())
            if latest:
                await self._check_follows(connection, latest, checkpoint.size)
        note = sign_checkpoint(checkpoint, signer)
        values = {"size": checkpoint.size, "root": checkpoint.root, "note": note, "signed_at": now}
        await self.queries.insert_checkpoint(connection, **values)
        return checkpoint

    async def lead(self, connection: Connection, lease_seconds: float) -> bool:
        """Whether this connection signs from now on to its end, which comes when it idles longer than the lease."""
        return await lead(connection, key_of(f"sign {self.origin}"), lease_seconds)

    async def signs(self, connection: Connection, signer: Signer, now: datetime) -> None:
        """Keep a signer's public key with those that ever signed."""
        await self.queries.insert_ledger_key(connection, verifier=signer.verifier.to_text(), since=now)

    async def keys(self, database: Database) -> list[str]:
        """The public keys that ever signed, the newest first."""
        return [row["verifier"] async for row in self.queries.ledger_keys(database)]

    async def unsubmitted(self, connection: Connection, above: int) -> list[Checkpoint]:
        """Up to PAGE checkpoints of more than `above` entries that Anchor may not have yet, by size."""
        rows = self.queries.unsubmitted_checkpoints(connection, above=above, most=PAGE)
        return [Checkpoint(self.origin, row["size"], row["root"]) async for row in rows]

    async def submitted(self, connection: Connection, checkpoint: Checkpoint, now: datetime) -> None:
        """Note that Anchor has a checkpoint."""
        await self.queries.submitted_checkpoint(connection, size=checkpoint.size, at=now)

    async def standing(self, connection: Connection) -> Standing:
        """How far the ledger is signed for and submitted."""
        row, latest = await self.queries.read_ledger(connection), await self.queries.latest_checkpoint(connection)
        return Standing(
            size=row["size"] if row else 0,
            signed=latest["size"] if latest else 0,
            signed_at=latest["signed_at"] if latest else None,
            unsubmitted=await self.queries.count_unsubmitted(connection),
        )

    async def latest(self, database: Database) -> bytes | None:
        """The largest signed checkpoint as it was signed; None before the first."""
        row = await self.queries.latest_checkpoint(database)
        return row["note"] if row else None

    async def signed(self, database: Database, size: int) -> Signed | None:
        """The signed checkpoint of `size` entries, the largest one for 0; None if there is none."""
        find = self.queries.checkpoint_of(database, size=size) if size else self.queries.latest_checkpoint(database)
        row = await find
        return Signed(row["size"], row["note"]) if row else None

    async def notes(self, database: Database, first: int, last: int) -> dict[int, bytes]:
        """The signed checkpoints of `first` to `last` entries, by size."""
        rows = self.queries.checkpoints_from(database, first=first, most=max(last - first + 1, 0))
        return {row["size"]: row["note"] async for row in rows if row["size"] <= last}

    async def tile(self, database: Database, level: int, number: int) -> bytes:
        """The hashes of a tile, of none if there is none."""
        return (await self._tiles(database, [(level, number)])).get((level, number), b"")

    async def inclusion(self, database: Database, number: int, size: int) -> Inclusion:
        """Find an entry in the tree of `size` entries. Raises NotLoggedError."""
        try:
            places = {(0, place // tiles.ENTRIES) for place in (number, max(number - 1, 0))}
            read = _reader(await self._tiles(database, places.union(tiles.tiles_needed(number, size))))
            path = tiles.inclusion_path_from_tiles(number, size, read)
            own = tiles.leaf_from_tiles(number, read)
            previous = tiles.leaf_from_tiles(number - 1, read) if number else genesis(self.origin)
        except (IndexError, ValueError) as error:
            raise NotLoggedError(str(error)) from error
        return Inclusion(previous, own, tuple(path))

    async def consistency(self, database: Database, old: int, new: int) -> list[bytes]:
        """The proof that the tree of `new` entries contains that of `old` (RFC 9162 2.1.4). Raises NotLoggedError."""
        try:
            read = _reader(await self._tiles(database, tiles.consistency_tiles_needed(old, new)))
            return tiles.consistency_path_from_tiles(old, new, read)
        except (IndexError, ValueError) as error:
            raise NotLoggedError(str(error)) from error

    async def _state(self, connection: Connection, row: Mapping[str, Any]) -> State:
        if row["origin"] != self.origin:
            raise LedgerForeignError(f"the database holds the ledger {row['origin']!r}, not {self.origin!r}")
        size, last = row["size"], row["last"]
        edge = [(level, number) for level, number, _ in tiles.right_edge(size)]
        try:
            partial = tiles.partial_tiles(size, _reader(await self._tiles(connection, edge)))
        except ValueError as error:
            raise LedgerDamagedError(str(error)) from error
        if partial and partial[0].level == 0 and not partial[0].hashes.endswith(last):
            raise LedgerDamagedError(f"the last hash of the tiles is not that of entry {size - 1}")
        return State(size, last, partial)

    async def _check_follows(self, connection: Connection, latest: Mapping[str, Any], new: int) -> None:
        """Whoever signs two trees that do not contain each other has forked the log, whatever the reason was."""
        size = latest["size"]
        if size > new:
            raise LedgerDamagedError(f"{size} entries were signed for, and there are {new}")
        edge = [(level, number) for level, number, _ in tiles.right_edge(size)]
        try:
            found = tiles.root_from_tiles(size, _reader(await self._tiles(connection, edge)))
        except ValueError as error:
            raise LedgerDamagedError(str(error)) from error
        if found != latest["root"]:
            raise LedgerDamagedError(f"the tiles do not give the root that was signed for {size} entries")

    async def _tiles(self, database: Database, places: Iterable[tuple[int, int]]) -> dict[tuple[int, int], bytes]:
        wanted = list(places)
        if not wanted:
            return {}
        levels, numbers = zip(*wanted, strict=True)
        if max(numbers) > _MOST_TILES:
            return {}
        rows = self.queries.ledger_tiles(database, levels=levels, numbers=numbers)
        return {(row["level"], row["number"]): row["hashes"] async for row in rows}


class Snapshot:
    """What `trust.audit` reads, over a connection within one transaction that is REPEATABLE READ."""

    def __init__(self, ledger: Ledger, connection: Connection, rows: Rows) -> None:
        self._ledger = ledger
        self._connection = connection
        self.rows = rows

    async def size(self) -> int:
        """The number of entries."""
        row = await self._ledger.queries.read_ledger(self._connection)
        return row["size"] if row else 0

    async def tile(self, level: int, index: int) -> bytes:
        """The hashes of a tile, of none if there is none."""
        return await self._ledger.tile(self._connection, level, index)

    async def checkpoints(self, first: int) -> AsyncIterator[bytes]:
        """The signed checkpoints of `first` entries or more, by size."""
        while True:
            rows = self._ledger.queries.checkpoints_from(self._connection, first=first, most=PAGE)
            page = [row async for row in rows]
            for row in page:
                yield row["note"]
            if len(page) < PAGE:
                return
            first = page[-1]["size"] + 1


def _reader(held: Mapping[tuple[int, int], bytes]) -> tiles.Reader:
    return lambda level, number: held.get((level, number), b"")
