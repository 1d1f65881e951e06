"""The schema `factory`, statement by statement; sql/ says what each is for."""

from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from factory.batch import Batch, BatchAnchor, BatchState
from factory.minting import COLUMNS
from factory.tenants import Tenant
from mesh.database import load_queries, reached
from mesh.errors import BatchNotFound, BatchStateConflict
from trust.tiles import Tile

Connection = asyncpg.Connection | PoolConnectionProxy
ACQUIRE_SECONDS = 5.0
ANALYSE_SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class ChunkRow:
    """A row of chunks: rows from `first_row`, products from `first_index` with ids in [first_id, last_id]."""

    first_row: int
    row_count: int
    first_index: int
    issued: int
    first_id: UUID | None
    last_id: UUID | None
    digest: bytes
    errors: bytes | None


@dataclass(frozen=True, slots=True)
class ProductRow:
    """A row of products; `attributes` None are its batch's template."""

    product_id: UUID
    index: int
    kid: int
    state: int
    attributes: bytes | None


@dataclass(frozen=True, slots=True)
class FinalRoot:
    """A batch whose root is final on a chain."""

    batch_id: UUID
    root: bytes
    anchor: BatchAnchor


@contextmanager
def _named_errors() -> Iterator[None]:
    """Raises DependencyUnavailable when the connection is lost, BatchStateConflict on an illegal transition."""
    try:
        with reached():
            yield
    except asyncpg.CheckViolationError as error:
        if error.constraint_name != "batch_transition":
            raise
        raise BatchStateConflict(state=error.detail) from None


def to_batch(row: Any) -> Batch:
    """A batch out of its row, which may have columns that this code knows nothing of."""
    place = [row[name] for name in ("chain_id", "contract", "transaction", "block_number")]
    anchor = None if place[0] is None else BatchAnchor(*place)
    columns = {field.name: row[field.name] for field in fields(Batch) if field.name != "anchor"}
    return Batch(**{**columns, "state": BatchState(columns["state"])}, anchor=anchor)


class Store:
    """Named statements on a pool of `tenants.connect`. All raise DependencyUnavailable when PostgreSQL is away."""

    def __init__(self, pool: "asyncpg.Pool[Any]") -> None:
        self._pool = pool
        self.sql = load_queries(Path(__file__).parent / "sql")

    @asynccontextmanager
    async def connection(self, tenant: Tenant) -> AsyncIterator[Connection]:
        """A connection for single statements, which shows the tenant's rows alone."""
        with _named_errors():
            async with self._pool.acquire(timeout=ACQUIRE_SECONDS) as connection:
                behind: Any = connection  # the pool hands out a proxy of the TenantConnection
                await behind.show(tenant, self.sql)
                yield connection

    @asynccontextmanager
    async def transaction(self, tenant: Tenant) -> AsyncIterator[Connection]:
        """A connection in a transaction that commits when the block ends well."""
        async with self.connection(tenant) as connection, connection.transaction():
            yield connection

    async def markets(self, connection: Connection, factory_id: UUID) -> frozenset[str]:
        """What `market` of the factory's products may be; empty is anything."""
        return frozenset(await self.sql.select_markets(connection, factory_id=factory_id) or ())

    async def insert_batch(self, connection: Connection, batch_id: UUID, **columns: object) -> Batch:
        """A new batch, RECEIVING or PENDING."""
        return to_batch(await self.sql.insert_batch(connection, batch_id=batch_id, **columns))

    async def batch(self, connection: Connection, factory_id: UUID, batch_id: UUID, *, lock: bool = False) -> Batch:
        """A batch of a factory, locked on demand. Raises BatchNotFound."""
        select = self.sql.lock_batch if lock else self.sql.select_batch
        return _found(await select(connection, factory_id=factory_id, batch_id=batch_id), batch_id)

    async def batches(
        self, connection: Connection, factory_id: UUID, *, before: UUID | None, state: BatchState | None, limit: int
    ) -> list[Batch]:
        """The factory's batches, newest first, from the one after `before`."""
        rows = self.sql.select_batches(connection, factory_id=factory_id, before=before, state=state, page_size=limit)
        return [to_batch(row) async for row in rows]

    async def unbuilt(self, connection: Connection, *, older_than: timedelta, limit: int) -> list[Batch]:
        """Batches of all factories that are PENDING or PROCESSING for so long, and that no job has."""
        rows = self.sql.select_unbuilt(connection, older_than=older_than, page_size=limit)
        return [to_batch(row) async for row in rows]

    async def unanchored(self, connection: Connection, *, older_than: timedelta, limit: int) -> list[Batch]:
        """Batches of all factories that are ANCHORING for so long, and that no job has, the oldest first."""
        rows = self.sql.select_unanchored(connection, older_than=older_than, page_size=limit)
        return [to_batch(row) async for row in rows]

    async def refresh_statistics(self, connection: Connection) -> None:
        """Lets the planner know what has grown: seconds, however many rows there are."""
        await connection.fetchval("SELECT refresh_statistics()", timeout=ANALYSE_SECONDS)

    async def take_writer(self, connection: Connection, factory_id: UUID, batch_id: UUID) -> Batch:
        """The batch, whose earlier writers can commit no more. Raises BatchNotFound."""
        return _found(await self.sql.take_writer(connection, factory_id=factory_id, batch_id=batch_id), batch_id)

    async def advance(self, connection: Connection, batch: Batch, chunk: ChunkRow) -> bool:
        """Locks and counts on the batch for a chunk of its writer; False when that was fenced off or the state left."""
        advanced: bool | None = await self.sql.advance(
            connection,
            factory_id=batch.factory_id,
            batch_id=batch.batch_id,
            writer=batch.writer,
            state=batch.state,
            first_row=chunk.first_row,
            first_index=chunk.first_index,
            row_count=chunk.row_count,
            issued=chunk.issued,
            refused=chunk.row_count - chunk.issued,
        )
        return bool(advanced)

    async def copy_products(self, connection: Connection, copy: bytes) -> None:
        """Products in one COPY, its bytes as `minting` lays them out."""
        source: Any = memoryview(copy)  # asyncpg takes bytes for the path of a file
        await connection.copy_to_table("products", source=source, columns=COLUMNS, format="binary")

    async def insert_chunk(
        self, connection: Connection, batch_id: UUID, chunk: ChunkRow, tiles: Sequence[Tile]
    ) -> None:
        """The chunk, and the tiles that it filled or grew."""
        await self.sql.insert_chunk(
            connection,
            batch_id=batch_id,
            first_row=chunk.first_row,
            row_count=chunk.row_count,
            first_index=chunk.first_index,
            issued=chunk.issued,
            first_product_id=chunk.first_id,
            last_product_id=chunk.last_id,
            digest=chunk.digest,
            errors=chunk.errors,
            levels=[tile.level for tile in tiles],
            indexes=[tile.index for tile in tiles],
            hashes=[tile.hashes for tile in tiles],
        )

    async def chunk(self, connection: Connection, batch_id: UUID, first_row: int) -> ChunkRow | None:
        """The chunk that begins at a row, if one does; without its ids."""
        row = await self.sql.select_chunk(connection, batch_id=batch_id, first_row=first_row)
        return None if row is None else ChunkRow(first_row=first_row, first_id=None, last_id=None, **dict(row))

    async def edge(self, connection: Connection, batch_id: UUID, size: int) -> list[Tile]:
        """The partial tiles of a batch's tree of `size` leaves."""
        rows = self.sql.select_edge(connection, batch_id=batch_id, size=size)
        return [Tile(*row) async for row in rows]

    async def products(
        self, connection: Connection, batch: Batch, *, first_index: int, after: UUID | None, limit: int
    ) -> list[ProductRow]:
        """Products of a batch from an index on; `after` is the id of the one before, where known."""
        rows = self.sql.select_products(
            connection,
            factory_id=batch.factory_id,
            batch_id=batch.batch_id,
            first_index=first_index,
            after=after,
            page_size=limit,
        )
        return [ProductRow(**dict(row)) async for row in rows]

    async def order_import(self, connection: Connection, batch: Batch) -> Batch:
        """The import is over: what was issued is ordered."""
        row = await self.sql.order_import(connection, factory_id=batch.factory_id, batch_id=batch.batch_id)
        return _found(row, batch.batch_id)

    async def set_root(self, connection: Connection, batch: Batch, root: bytes) -> Batch:
        """The tree stands: the batch is ANCHORING. Raises BatchStateConflict."""
        row = await self.sql.set_root(connection, factory_id=batch.factory_id, batch_id=batch.batch_id, root=root)
        return _found(row, batch.batch_id)

    async def set_state(self, connection: Connection, batch: Batch, state: BatchState, failure: str = "") -> Batch:
        """Raises BatchStateConflict when the batch does not go there."""
        row = await self.sql.set_state(
            connection, factory_id=batch.factory_id, batch_id=batch.batch_id, state=state, failure=failure
        )
        return _found(row, batch.batch_id)

    async def complete(self, connection: Connection, roots: Iterable[FinalRoot]) -> list[Batch]:
        """Sets the batches of final roots COMPLETED: those that were not yet."""
        final = list(roots)
        rows = self.sql.complete(
            connection,
            batch_ids=[root.batch_id for root in final],
            roots=[root.root for root in final],
            chain_ids=[root.anchor.chain_id for root in final],
            contracts=[root.anchor.contract for root in final],
            transactions=[root.anchor.transaction for root in final],
            block_numbers=[root.anchor.block_number for root in final],
        )
        return [to_batch(row) async for row in rows]

    async def forget_events(self, connection: Connection, before: datetime, limit: int) -> int:
        """Removes so many of the events from before then, with all that came of them: how many it removed."""
        count: int = await self.sql.forget_events(connection, before=before, page_size=limit)
        return count


def _found(row: Any, batch_id: UUID) -> Batch:
    if row is None:
        raise BatchNotFound(batch_id=batch_id)
    return to_batch(row)
