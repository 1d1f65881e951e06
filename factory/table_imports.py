"""Imports of CSV tables: read, checked and committed chunk by chunk, answered once with a report.

Rows are committed while the file still comes, into a batch that is RECEIVING, so memory is flat. Nothing of it is given
away before the answer; a file that is refused as a whole leaves that batch CANCELLED, and its codes answer BLOCKED.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from hashlib import sha256
from typing import NamedTuple
from uuid import UUID

import orjson

from factory.attributes import ANY_MARKET, Reason, check_name, encode_template
from factory.batch import LIMIT, Batch, BatchState
from factory.importing import CHUNK_ROWS, RowError, check_rows
from factory.imports import Ack, Completed, End, Frame, Header, Imports, Opened, RowChunk
from factory.tables import Columns, Record, TableReader
from mesh import audit
from mesh.errors import BatchEmpty, BatchStateConflict, BatchTooLarge, TableMalformed
from mesh.idempotency import RequestKey

MAX_ERRORS = 1_000
MAX_VALUE = 100
_STEP_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class TableOrder:
    """How a table is to be imported."""

    request: RequestKey
    name: str
    template: Mapping[str, str]
    dry_run: bool = False
    all_or_nothing: bool = False


class CellError(NamedTuple):
    """Why the row that begins on a line was refused; `value` is at most 100 characters of the cell."""

    line: int
    column: str
    value: str
    reason: Reason
    message: str


@dataclass(frozen=True, slots=True)
class Report:
    """What came of an import; without a batch nothing was issued."""

    batch: Batch | None
    row_count: int
    refused_count: int
    errors: list[CellError]


class TableImports:
    """Runs imports of tables."""

    def __init__(self, imports: Imports) -> None:
        self._imports = imports

    async def run(self, factory_id: UUID, order: TableOrder, pieces: AsyncIterator[bytes]) -> Report:
        """The report on a file. Raises the errors that the contract of ImportCsv names."""
        check_name(order.name)
        markets = await self._markets(factory_id)
        encode_template(order.template, markets=markets if order.dry_run else ANY_MARKET)
        reading = _Reading(order, pieces, markets)
        async with aclosing(reading.frames()) as frames:
            if order.dry_run:
                await reading.check(frames)
                audit.replayed()
                batch = None
            else:
                async with self._imports.under_way(factory_id):
                    batch = await self._issue(factory_id, reading, frames)
        return Report(batch, reading.row_count, reading.refused_count, reading.errors)

    async def _markets(self, factory_id: UUID) -> frozenset[str]:
        store = self._imports.store
        async with store.connection(factory_id) as connection:
            return await store.markets(connection, factory_id)

    async def _issue(self, factory_id: UUID, reading: "_Reading", frames: AsyncGenerator[Frame, None]) -> Batch | None:
        opened: Batch | None = None
        try:
            await anext(frames)  # the header, when there are rows
            async with aclosing(self._imports.go_through(factory_id, reading.header, frames)) as answers:
                async for answer in answers:
                    if isinstance(answer, Opened):
                        opened = answer.batch
                    elif isinstance(answer, Ack):
                        reading.settle(answer.first_row, answer.errors)
        except (TableMalformed, BatchTooLarge):
            if opened is not None:
                await self._abandon(opened, reading.order)
            raise
        except BatchStateConflict:
            if opened is not None:
                raise
            # Cancelled before: a request whose answer was lost gets the same one again, by checking the file anew.
            await reading.check(frames)
            if reading.orders:
                raise
            return None
        assert opened is not None, "a run without an error opens its batch"
        if reading.orders:
            return await self._order(factory_id, reading)
        await self._abandon(opened, reading.order)
        return None

    async def _order(self, factory_id: UUID, reading: "_Reading") -> Batch:
        """What is committed is ordered, by a stream of its own: only now is it known that it shall be."""

        async def frames() -> AsyncIterator[Frame]:
            yield End(reading.row_count)

        async with aclosing(self._imports.go_through(factory_id, reading.header, frames())) as answers:
            async for answer in answers:
                if isinstance(answer, Completed):
                    return answer.batch
        raise AssertionError("an end is answered or refused")

    async def _abandon(self, opened: Batch, order: TableOrder) -> None:
        store = self._imports.store
        async with store.transaction(opened.factory_id) as connection:
            batch = await store.batch(connection, opened.factory_id, opened.batch_id, lock=True)
            # Another stream of the same request, or an order that stands, is not this one's to end.
            if batch.state is not BatchState.RECEIVING or batch.writer != opened.writer:
                return
            await store.set_state(connection, batch, BatchState.CANCELLED)
            state = audit.change(batch.state, BatchState.CANCELLED)
            detail = {"state": state, "issued_count": batch.issued_count}
            resource = f"batch/{batch.batch_id}"
            await audit.record(connection, resource=resource, request_id=order.request.request_id, detail=detail)
        self._imports.changes.announce(opened.batch_id)


class _Reading:
    """One file as the frames of an import, and the report on it so far."""

    def __init__(self, order: TableOrder, pieces: AsyncIterator[bytes], markets: frozenset[str]) -> None:
        self.order = order
        self.header = Header(order.request, order.name, order.template)
        self.row_count = 0
        self.refused_count = 0
        self.errors: list[CellError] = []
        self._pieces = pieces
        self._markets = markets
        self._columns: Columns | None = None
        self._unsettled: dict[int, list[Record]] = {}
        self._settled = asyncio.Event()

    @property
    def orders(self) -> bool:
        """True when what was settled is to be ordered."""
        return self.refused_count < self.row_count and not self.doomed

    @property
    def doomed(self) -> bool:
        """True when nothing can be ordered any more, whatever comes."""
        return self.order.all_or_nothing and self.refused_count > 0

    async def frames(self) -> AsyncGenerator[Frame, None]:
        """The header once the first rows are read, then the chunks, and no end.

        Once the import is doomed, its chunks are settled here. Raises TableMalformed, BatchEmpty, BatchTooLarge.
        """
        async with aclosing(self._blocks()) as blocks:
            async for records in blocks:
                if not self.row_count:
                    yield self.header
                if self.doomed:
                    await self._settled.wait()  # errors are named in the order of their lines
                    await self._check(self._chunk(records))
                else:
                    yield self._chunk(records)
        if self._columns is None:
            raise TableMalformed(line=1, problem="a header must name columns, and the file is empty")
        if not self.row_count:
            raise BatchEmpty

    async def check(self, frames: AsyncIterator[Frame]) -> None:
        """Settles the chunks without issuing. Raises BatchTooLarge, and what `frames` raises."""
        async for frame in frames:
            if isinstance(frame, RowChunk):
                await self._check(frame)

    async def _check(self, chunk: RowChunk) -> None:
        checked = check_rows(chunk.rows, chunk.first_row, self.order.template, self._markets)
        self.settle(chunk.first_row, checked.errors)
        if max(self.row_count - self.refused_count, self.refused_count) > LIMIT:
            raise BatchTooLarge(limit=LIMIT)
        await asyncio.sleep(0)  # a piece holds many chunks, and other calls wait

    def settle(self, first_row: int, errors: Sequence[RowError]) -> None:
        """The chunk that begins at a row was checked: these of its rows are refused."""
        records = self._unsettled.pop(first_row)
        self.refused_count += len(errors)
        for error in errors[: MAX_ERRORS - len(self.errors)]:
            self.errors.append(self._cell_error(records[error.row - first_row], error))
        if not self._unsettled:
            self._settled.set()

    def _cell_error(self, record: Record, error: RowError) -> CellError:
        assert self._columns is not None
        line, cells = record
        names, column, message = self._columns.names, error.column, error.message
        if column not in names:
            column = ""
            if error.reason is Reason.KEY:  # the names of columns are keys: what has none is a cell too many
                message = f"{len(cells)} cells for {len(names)} columns"
            elif error.reason is Reason.TOO_LONG:
                column = max(zip(names, cells, strict=False), key=lambda pair: len(pair[1]))[0]
        value = "" if error.reason is Reason.EMPTY else self._columns.value(cells, column)
        return CellError(line, column, value[:MAX_VALUE], error.reason, message)

    def _chunk(self, records: list[Record]) -> RowChunk:
        assert self._columns is not None
        first_row = self.row_count
        self.row_count += len(records)
        self._unsettled[first_row] = records
        self._settled.clear()
        digest = sha256(orjson.dumps((self._columns.names, records))).digest()
        return RowChunk(first_row, [self._columns.row(cells) for _, cells in records], digest)

    async def _blocks(self) -> AsyncGenerator[list[Record], None]:
        """The rows below the header, as many at a time as a chunk has."""
        reader = TableReader()
        block: list[Record] = []
        async for piece in self._pieces:
            for record in _steps(reader, piece):
                if self._columns is None:
                    self._columns = Columns(*record)
                    continue
                block.append(record)
                if len(block) == CHUNK_ROWS:
                    yield block
                    block = []
        for record in reader.finish():
            if self._columns is None:
                self._columns = Columns(*record)
            else:
                block.append(record)
        if block:
            yield block


def _steps(reader: TableReader, piece: bytes) -> Iterator[Record]:
    """Feeds a piece by parts: a megabyte of short lines at once would take much memory."""
    for start in range(0, len(piece), _STEP_BYTES):
        yield from reader.feed(piece[start : start + _STEP_BYTES])
