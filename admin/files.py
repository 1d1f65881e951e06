"""Files that are kept for a while: written once in pieces, read by a link that is one person's.

A file can be read from the moment that its length and SHA-256 are committed, and never before; whoever dies while it is
written leaves pieces that nobody sees, and that go with its time. It never changes, so it may lie anywhere else by its
SHA-256.
"""

import base64
import hashlib
import hmac
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from admin.errors import LinkInvalid
from admin.store import Store
from mesh.clock import Clock
from mesh.identity import Principal

PIECE_BYTES = 1 << 20
LINK_LASTS = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file that is whole."""

    file_id: UUID
    name: str
    media_type: str
    size: int
    sha256: bytes
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Link:
    """Where somebody finds a file: path and query."""

    path: str
    expires_at: datetime
    file: StoredFile


class Links:
    """Signs links under a key: each is good for one person as who they are, one file, and until a time."""

    def __init__(self, key: bytes, clock: Clock) -> None:
        self._key = key
        self._clock = clock

    def link(self, actor: Principal, file: StoredFile) -> Link:
        """A link that ends with the file, and after an hour at the latest."""
        expires_at = min(self._clock.now() + LINK_LASTS, file.expires_at)
        expires = int(expires_at.timestamp())
        signature = self._signature(actor, file.file_id, expires)
        path = f"/v1/admin/downloads/{file.file_id}?expires={expires}&signature={signature}"
        return Link(path, expires_at, file)

    def check(self, actor: Principal, file_id: UUID, expires: int, signature: str) -> None:
        """Raises LinkInvalid."""
        good = hmac.compare_digest(signature.encode(), self._signature(actor, file_id, expires).encode())
        if not good or expires <= self._clock.now().timestamp():
            raise LinkInvalid

    def _signature(self, actor: Principal, file_id: UUID, expires: int) -> str:
        scope = f"{actor}:{','.join(sorted(actor.roles))}:{actor.factory_id}:{file_id}:{expires}"
        tag = hmac.digest(self._key, b"voketag/download/v1\0" + scope.encode(), "sha256")
        return base64.urlsafe_b64encode(tag).decode().rstrip("=")


class Files:
    """Reads and removes files. Raises DependencyUnavailable when PostgreSQL is away."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def find(self, file_id: UUID) -> StoredFile | None:
        """A file that is whole and kept; None for any other."""
        async with self._store.connection() as connection:
            row = await self._store.sql.select_file(connection, file_id=file_id, now=self._clock.now())
        return StoredFile(**dict(row)) if row else None

    async def read(self, file: StoredFile) -> AsyncGenerator[bytes, None]:
        """Its pieces, of at most 1 MiB. Raises LinkInvalid when it is removed meanwhile."""
        for number in range(-(-file.size // PIECE_BYTES)):
            async with self._store.connection() as connection:
                piece = await self._store.sql.select_piece(connection, file_id=file.file_id, number=number)
            if piece is None:
                raise LinkInvalid
            yield piece


class FileWriter:
    """Writes one file. What it has taken and not written is at most 1 MiB."""

    def __init__(self, store: Store, file_id: UUID) -> None:
        self.file_id = file_id
        self.size = 0
        self._store = store
        self._digest = hashlib.sha256()
        self._rest = bytearray()
        self._number = 0

    async def add(self, data: bytes) -> None:
        """What follows. Raises DependencyUnavailable; ForeignKeyViolationError when the file was taken away."""
        self._digest.update(data)
        self.size += len(data)
        self._rest += data
        while len(self._rest) >= PIECE_BYTES:
            await self._write(bytes(self._rest[:PIECE_BYTES]))
            del self._rest[:PIECE_BYTES]

    async def flush(self) -> None:
        """Writes what is left."""
        if self._rest:
            await self._write(bytes(self._rest))
            self._rest.clear()

    async def finish(self, connection: Any) -> None:
        """Makes it whole, in the transaction of who wants it."""
        await self._store.sql.finish_file(
            connection, file_id=self.file_id, size=self.size, sha256=self._digest.digest()
        )

    async def _write(self, piece: bytes) -> None:
        async with self._store.connection() as connection:
            await self._store.sql.insert_piece(connection, file_id=self.file_id, number=self._number, data=piece)
        self._number += 1


class Pruning:
    """Removes files whose time is over."""

    AT_ONCE = 100
    GRACE = timedelta(hours=2)
    """Longer than a link lasts, so that nobody who reads is cut off."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def run(self) -> int:
        """How many it removed; a file a transaction. Raises DependencyUnavailable."""
        before = self._clock.now() - self.GRACE
        async with self._store.connection() as connection:
            rows = self._store.sql.select_old_files(connection, before=before, most=self.AT_ONCE)
            old = [row["file_id"] async for row in rows]
        for file_id in old:
            async with self._store.transaction() as connection:
                await self._store.sql.expire_orders(connection, file_id=file_id)
                await self._store.sql.drop_file(connection, file_id=file_id)
        return len(old)
