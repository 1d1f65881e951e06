"""Imports: rows come in chunks, each is committed whole, and only then acknowledged with its tokens.

While a chunk is committed, the next one is checked and minted. A broken import goes on where it was committed to: the
same header finds the batch again, and a repeated chunk gets the tokens it was given before.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence, Set
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from uuid import UUID

import orjson

from factory.attributes import Reason, check_name, encode_template
from factory.backlog import order_build
from factory.batch import LIMIT, Batch, BatchState
from factory.changes import Changes
from factory.importing import CHUNK_ROWS, Row, RowError, check_rows
from factory.issuing import Chunk, Rows, SupersededError, Tree, commit
from factory.minting import Minter, RawIdSource, Tokens
from factory.quotas import Allowance, Quotas
from factory.slots import Slots
from factory.store import ChunkRow, Connection, Store
from mesh import audit, idempotency
from mesh.ahead import ahead
from mesh.clock import IdSource
from mesh.errors import (
    BatchEmpty,
    BatchStateConflict,
    BatchTooLarge,
    ChunkSize,
    SequenceConflict,
    SequenceGap,
    StreamHeaderExpected,
)
from mesh.idempotency import RequestKey
from mesh.jobs import Jobs

DEPTH = 1


@dataclass(frozen=True, slots=True)
class Header:
    """Opens an import, or goes on with the one that the same request opened."""

    request: RequestKey
    name: str
    template: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class RowChunk:
    """Rows from `first_row` on, and SHA-256 of them."""

    first_row: int
    rows: Sequence[Row]
    digest: bytes


@dataclass(frozen=True, slots=True)
class End:
    """No more rows."""

    row_count: int


@dataclass(frozen=True, slots=True)
class Opened:
    """Everything before `batch.next_row` is committed."""

    batch: Batch


@dataclass(frozen=True, slots=True)
class Ack:
    """A chunk is committed, and with it every row below `committed_rows`."""

    committed_rows: int
    first_row: int
    first_index: int
    tokens: list[str]
    errors: list[RowError]


@dataclass(frozen=True, slots=True)
class Completed:
    """The batch is ordered."""

    batch: Batch


Frame = Header | RowChunk | End
Answer = Opened | Ack | Completed
Step = Callable[[], Awaitable[Ack | Completed]]


class Imports:
    """Runs imports."""

    def __init__(
        self,
        store: Store,
        changes: Changes,
        jobs: Jobs,
        tokens: Tokens,
        *,
        quotas: Quotas,
        slots: Slots,
        new_id: IdSource,
        new_product_id: RawIdSource,
    ) -> None:
        self.store = store
        self.changes = changes
        self.jobs = jobs
        self.tokens = tokens
        self.new_product_id = new_product_id
        self.quotas = quotas
        self._slots = slots
        self._new_id = new_id
        self._closing = asyncio.Event()

    def close(self) -> None:
        """Ends the imports under way after the chunk each is at: the server drains."""
        self._closing.set()

    async def run(self, factory_id: UUID, frames: AsyncIterator[Frame]) -> AsyncGenerator[Answer, None]:
        """The answers to a stream of frames. Raises the errors that the contract of ImportProducts names."""
        header = await anext(frames, None)
        if not isinstance(header, Header):
            raise StreamHeaderExpected
        async with self.under_way(factory_id):
            async with aclosing(self.go_through(factory_id, header, frames)) as answers:
                async for answer in answers:
                    yield answer

    @asynccontextmanager
    async def under_way(self, factory_id: UUID) -> AsyncIterator[None]:
        """Counts an import among those under way while the block runs. Raises QuotaExceeded."""
        usage = await self.quotas.usage(factory_id)
        async with self._slots.held(factory_id, usage.quota.concurrent_imports):
            yield

    async def go_through(
        self, factory_id: UUID, header: Header, frames: AsyncIterator[Frame]
    ) -> AsyncGenerator[Answer, None]:
        """`run` once the header is read, within `under_way`."""
        session = await self._open(factory_id, header)
        yield Opened(session.batch)
        try:
            async with aclosing(ahead(session.steps(frames), DEPTH, self._closing)) as steps:
                async for step in steps:
                    yield await step()
        finally:
            await session.allowance.give_back()

    async def _open(self, factory_id: UUID, header: Header) -> "_Session":
        check_name(header.name)
        template = encode_template(header.template)
        async with self.store.transaction(factory_id) as connection:
            new = self._new_id()
            first = await idempotency.claim(connection, header.request, new)
            markets = await self.store.markets(connection, factory_id)
            if first is None:
                encode_template(header.template, markets=markets)
                columns = {"factory_id": factory_id, "name": header.name, "template": template, "kid": self.tokens.kid}
                await self.store.insert_batch(connection, new, state=BatchState.RECEIVING, product_count=0, **columns)
                detail = {"name": header.name, "state": BatchState.RECEIVING}
                await audit.record(
                    connection, resource=f"batch/{new}", request_id=header.request.request_id, detail=detail
                )
            batch = await self.store.take_writer(connection, factory_id, first or new)
            if batch.state is BatchState.CANCELLED:
                raise BatchStateConflict(state=batch.state)
            tree = await Tree.load(self.store, connection, batch)
        return _Session(self, header, batch, tree, markets)


class _Session:
    """One stream of an import. `batch` is as it was opened; `next_row` and the tree run ahead of what is committed."""

    def __init__(self, imports: Imports, header: Header, batch: Batch, tree: Tree, markets: Set[str]) -> None:
        self.batch = batch
        self.allowance = Allowance(imports.quotas, batch.factory_id)
        self._request_id = header.request.request_id
        self._imports = imports
        self._store = imports.store
        self._tree = tree
        self._template = header.template
        self._markets = markets
        self._next_row = batch.next_row
        self._refused = batch.refused_count
        kid = imports.tokens.kid
        new_id, batch_id = imports.new_product_id, batch.batch_id.bytes
        self._minter = Minter(new_id, batch_id=batch_id, template=batch.template, kid=kid)

    async def steps(self, frames: AsyncIterator[Frame]) -> AsyncGenerator[Step, None]:
        """What is to be done for each frame, prepared as far as it can be before the one before is done."""
        async for frame in frames:
            if isinstance(frame, Header):
                raise StreamHeaderExpected
            if isinstance(frame, End):
                yield partial(self._finish, frame)
                return
            yield self._prepare(frame)

    def _prepare(self, chunk: RowChunk) -> Step:
        count = len(chunk.rows)
        if not 1 <= count <= CHUNK_ROWS:
            raise ChunkSize(limit=CHUNK_ROWS, rows=count)
        if chunk.first_row > self._next_row:
            raise SequenceGap(next_row=self._next_row, first_row=chunk.first_row)
        if chunk.first_row < self._next_row:
            return partial(self._repeat, chunk)
        if self.batch.state is not BatchState.RECEIVING:
            raise BatchStateConflict(state=self.batch.state)
        checked = check_rows(chunk.rows, chunk.first_row, self._template, self._markets)
        self._refused += len(checked.errors)
        if max(self._tree.size + len(checked.attributes), self._refused) > LIMIT:
            raise BatchTooLarge(limit=LIMIT)
        self._next_row += count
        minted = self._minter.mint(self._tree.size, checked.attributes)
        rows = Rows(chunk.first_row, count, chunk.digest, _encoded(checked.errors))
        grown = self._tree.grow(rows, minted)
        tokens = self._imports.tokens.fresh(minted.ids)
        return partial(self._commit, grown, _ack(grown.row, tokens, checked.errors))

    async def _commit(self, chunk: Chunk, ack: Ack) -> Ack:
        await self.allowance.take(chunk.row.issued)
        try:
            async with self._store.transaction(self.batch.factory_id) as connection:
                await commit(self._store, connection, self.batch, chunk)
        except SupersededError:
            self.allowance.put_back(chunk.row.issued)
            raise await self._why_superseded(ack.first_row) from None
        self._imports.changes.announce(self.batch.batch_id)
        return ack

    async def _why_superseded(self, first_row: int) -> BatchStateConflict | SequenceConflict:
        async with self._store.connection(self.batch.factory_id) as connection:
            batch = await self._store.batch(connection, self.batch.factory_id, self.batch.batch_id)
        if batch.state is not BatchState.RECEIVING:
            return BatchStateConflict(state=batch.state)
        return SequenceConflict(first_row=first_row, next_row=batch.next_row)

    async def _repeat(self, chunk: RowChunk) -> Ack:
        async with self._store.connection(self.batch.factory_id) as connection:
            row = await self._store.chunk(connection, self.batch.batch_id, chunk.first_row)
            if row is None or (row.row_count, row.digest) != (len(chunk.rows), chunk.digest):
                raise SequenceConflict(first_row=chunk.first_row, next_row=self._next_row)
            tokens = await self._given(connection, row)
        return _ack(row, tokens, _decoded(row.errors))

    async def _given(self, connection: Connection, row: ChunkRow) -> list[str]:
        if not row.issued:
            return []
        products = await self._store.products(
            connection, self.batch, first_index=row.first_index, after=None, limit=row.issued
        )
        return list(self._imports.tokens.stored((product.kid, product.product_id.bytes) for product in products))

    async def _finish(self, end: End) -> Completed:
        if end.row_count > self._next_row:
            raise SequenceGap(next_row=self._next_row, first_row=end.row_count)
        if end.row_count < self._next_row:
            raise SequenceConflict(first_row=end.row_count, next_row=self._next_row)
        async with self._store.transaction(self.batch.factory_id) as connection:
            batch = await self._store.batch(connection, self.batch.factory_id, self.batch.batch_id, lock=True)
            if batch.state is BatchState.CANCELLED:
                raise BatchStateConflict(state=batch.state)
            if batch.state is BatchState.RECEIVING:
                batch = await self._order(connection, batch)
        self._imports.changes.announce(batch.batch_id)
        return Completed(batch)

    async def _order(self, connection: Connection, batch: Batch) -> Batch:
        if batch.writer != self.batch.writer:
            raise SequenceConflict(first_row=self._next_row, next_row=batch.next_row)
        if not batch.issued_count:
            raise BatchEmpty
        before = batch.state
        batch = await self._store.order_import(connection, batch)
        await order_build(self._store, self._imports.jobs, connection, batch)
        detail = {
            "state": audit.change(before, batch.state),
            "product_count": batch.product_count,
            "refused_count": batch.refused_count,
        }
        resource = f"batch/{batch.batch_id}"
        await audit.record(connection, resource=resource, request_id=self._request_id, detail=detail)
        return batch


def _ack(row: ChunkRow, tokens: list[str], errors: list[RowError]) -> Ack:
    return Ack(row.first_row + row.row_count, row.first_row, row.first_index, tokens, errors)


def _encoded(errors: list[RowError]) -> bytes | None:
    return orjson.dumps([tuple(error) for error in errors]) if errors else None


def _decoded(errors: bytes | None) -> list[RowError]:
    found = orjson.loads(errors) if errors else []
    return [RowError(row, column, Reason(reason), message) for row, column, reason, message in found]
