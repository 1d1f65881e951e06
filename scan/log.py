"""The ledger as strangers read it: checkpoints, tiles and proofs, of what is signed for and of nothing else.

What is committed and not signed yet is not told: a database that lost its last commits would contradict it. So every
answer about a size or a tile holds for ever.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import asyncpg

from mesh.database import reached
from mesh.errors import NotLogged
from mesh.ledger import Ledger, NotLoggedError, Signed
from scan.journal import Journal
from trust.ledger import entry_bytes
from trust.merkle import HASH_BYTES
from trust.tilepath import TilePath


@dataclass(frozen=True, slots=True)
class LogKey:
    """The log's name, and the public keys that ever signed for it (C2SP vkey), the newest first."""

    origin: str
    keys: Sequence[str]


@dataclass(frozen=True, slots=True)
class Inclusion:
    """That an entry, by its hash, is number `index` in the tree of a signed checkpoint; hashes of 32 bytes."""

    index: int
    leaf_hash: bytes
    path: tuple[bytes, ...]
    note: bytes


@dataclass(frozen=True, slots=True)
class Consistency:
    """That the tree of `new` entries contains that of `old`."""

    old: int
    new: int
    path: Sequence[bytes]


class Log:
    """Reads the ledger and the journal. All raise DependencyUnavailable, and NotLogged for what is not signed for."""

    def __init__(self, pool: "asyncpg.Pool[Any]", ledger: Ledger, journal: Journal) -> None:
        self._pool = pool
        self._ledger = ledger
        self._journal = journal

    async def key(self) -> LogKey:
        """Who signs."""
        with reached():
            return LogKey(self._ledger.origin, await self._ledger.keys(self._pool))

    async def checkpoint(self, size: int) -> bytes:
        """The note of the checkpoint of so many entries, 0 for the latest."""
        return (await self._signed(size)).note

    async def tile(self, path: TilePath) -> bytes:
        """The hashes of a tile of hashes, as wide as asked for; bundles of entries are not told."""
        if path.level is None or path.level > 7:
            raise NotLogged
        latest = await self._signed(0)
        if (path.index * 256 + path.width) << 8 * path.level > latest.size:
            raise NotLogged
        with reached():
            hashes = await self._ledger.tile(self._pool, path.level, path.index)
        wanted = path.width * HASH_BYTES
        if len(hashes) < wanted:
            raise NotLogged
        return hashes[:wanted]

    async def inclusion(self, index: int, size: int) -> Inclusion:
        """Where an entry is in the tree of the checkpoint of `size` entries, 0 for the latest."""
        return (await self._found(index, await self._signed(size)))[1]

    async def scan(self, product_id: UUID | None, event_id: UUID, size: int) -> tuple[bytes, Inclusion]:
        """The entry of a product's scan, and where it is. `product_id` is None for a code that is none of ours."""
        signed = await self._signed(size)
        with reached():
            row = product_id and await self._journal.logged(self._pool, product_id, event_id)
        if not row:
            raise NotLogged
        previous, inclusion = await self._found(row.number, signed)
        return entry_bytes(previous, row.event), inclusion

    async def consistency(self, old: int, new: int) -> Consistency:
        """That the tree of `new` entries, 0 for the latest checkpoint's, contains that of `old`."""
        latest = (await self._signed(0)).size
        new = new or latest
        if new > latest:
            raise NotLogged
        try:
            with reached():
                return Consistency(old, new, await self._ledger.consistency(self._pool, old, new))
        except NotLoggedError as error:
            raise NotLogged from error

    async def _signed(self, size: int) -> Signed:
        with reached():
            signed = await self._ledger.signed(self._pool, size)
        if signed is None:
            raise NotLogged
        return signed

    async def _found(self, index: int, signed: Signed) -> tuple[bytes, Inclusion]:
        """The hash of the entry before, and where the entry is."""
        try:
            with reached():
                found = await self._ledger.inclusion(self._pool, index, signed.size)
        except NotLoggedError as error:
            raise NotLogged from error
        return found.previous, Inclusion(index, found.own, found.path, signed.note)
