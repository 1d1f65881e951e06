"""The worker's side of exports: makes the files that were ordered.

A worker gives the export a file of its own before it writes the first piece, and the export is done in the transaction
that makes this file whole. So nothing that is half made is ever read: dies the worker before, another one begins anew
with another file, and takes the first one away; dies it after, the file is there. A worker that was only thought dead
finds its file gone, and stops; so does one whose export was called off.
"""

from contextlib import aclosing
from datetime import timedelta
from typing import Any
from uuid import UUID

import asyncpg
import structlog

from admin.export_orders import MAKE, wanted_of
from admin.exports import Tables, writer_of
from admin.files import FileWriter
from admin.store import Store
from mesh.ahead import ahead
from mesh.clock import Clock, IdSource
from mesh.database import affected
from mesh.errors import DependencyUnavailable, ShuttingDown
from mesh.jobs import Again, Handler, Job

log = structlog.get_logger()
KEPT = timedelta(days=1)
ATTEMPTS = 3
AWAY_SECONDS = 2.0
LARGEST_BYTES = 8 << 30
COUNTED_ROWS = 100_000
"""How many rows lie between two words of how far it is."""


class SupersededError(Exception):
    """Another worker has taken the export over, or has ended it."""


class TooLargeError(Exception):
    """The file would be larger than files may be."""


class ExportMaking:
    """Makes files. Every step can be broken off anywhere and run again."""

    def __init__(self, store: Store, clock: Clock, *, new_id: IdSource, largest: int = LARGEST_BYTES) -> None:
        self._store = store
        self._tables = Tables(store)
        self._clock = clock
        self._new_id = new_id
        self._largest = largest

    def handlers(self) -> dict[str, Handler]:
        """By name of the job."""
        return {MAKE: Handler(self.make, self.fail, max_attempts=ATTEMPTS)}

    async def make(self, job: Job) -> None:
        """Makes the file of an export. Raises Again when the worker stops or PostgreSQL is away."""
        export_id = UUID(bytes=job.payload)
        try:
            await self._make(job, export_id)
        except (SupersededError, asyncpg.ForeignKeyViolationError):
            log.warning("the export is another worker's, or was called off", export_id=str(export_id))
        except TooLargeError:
            await self._fail(export_id, f"the file would be larger than {self._largest} bytes: narrow the time")
        except ShuttingDown as stopping:
            raise Again(0, str(stopping)) from stopping
        except DependencyUnavailable as away:
            raise Again(AWAY_SECONDS, str(away)) from away

    async def fail(self, job: Job, reason: str) -> None:
        """Gives an export up; the reason is in the log, for it may tell more than people should know."""
        export_id = UUID(bytes=job.payload)
        log.error("export given up", export_id=str(export_id), reason=reason)
        await self._fail(export_id, "it could not be made: order it again, or tell us")

    async def _make(self, job: Job, export_id: UUID) -> None:
        taken = await self._take(export_id)
        if taken is None:
            return
        row, file = taken
        wanted = wanted_of(row)
        writer, count, told = writer_of(wanted), 0, 0
        await file.add(writer.begin())
        read = self._tables.pages(wanted, contacts=row["role"] == "admin")
        async with aclosing(ahead(read, 1, job.stopping)) as pages:
            async for page in pages:
                await file.add(writer.add(page))
                count += len(page)
                if file.size > self._largest:
                    raise TooLargeError
                if count - told >= COUNTED_ROWS:
                    told = count
                    await self._count(export_id, file, count)
        await file.add(writer.end())
        await file.flush()
        await self._finish(export_id, file, count)

    async def _take(self, export_id: UUID) -> tuple[Any, FileWriter] | None:
        """What is wanted and a new file for it; the file of whoever had the export before goes."""
        file_id = self._new_id()
        async with self._store.transaction() as connection:
            row = await self._store.sql.lock_order(connection, export_id=export_id)
            if row is None or row["state"] not in ("WAITING", "RUNNING"):
                return None
            wanted, expires_at = wanted_of(row), self._clock.now() + KEPT
            await self._store.sql.insert_file(
                connection, file_id=file_id, name=wanted.name, media_type=wanted.media_type, expires_at=expires_at
            )
            await self._store.sql.run_order(connection, export_id=export_id, file_id=file_id)
            if row["file_id"] is not None:
                await self._store.sql.drop_file(connection, file_id=row["file_id"])
        return row, FileWriter(self._store, file_id)

    async def _count(self, export_id: UUID, file: FileWriter, count: int) -> None:
        async with self._store.connection() as connection:
            await self._store.sql.count_rows(connection, export_id=export_id, file_id=file.file_id, row_count=count)

    async def _finish(self, export_id: UUID, file: FileWriter, count: int) -> None:
        async with self._store.transaction() as connection:
            done = await self._store.sql.finish_order(
                connection, export_id=export_id, file_id=file.file_id, row_count=count, now=self._clock.now()
            )
            if not affected(done):
                raise SupersededError
            await file.finish(connection)
        log.info("export made", export_id=str(export_id), rows=count, bytes=file.size)

    async def _fail(self, export_id: UUID, failure: str) -> None:
        """What was written of the file goes with it."""
        async with self._store.transaction() as connection:
            row = await self._store.sql.lock_order(connection, export_id=export_id)
            failed = await self._store.sql.fail_order(
                connection, export_id=export_id, failure=failure, now=self._clock.now()
            )
            if affected(failed) and row["file_id"] is not None:
                await self._store.sql.drop_file(connection, file_id=row["file_id"])
