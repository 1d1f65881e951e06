"""The labels of a batch as one file, drawn while it is sent; nothing of it is stored."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import Protocol
from uuid import UUID

import segno

from factory.archive import Archive
from factory.batch import Batch, BatchState
from factory.codes import ErrorLevel, QrFormat, Turns, draw, qr_code
from factory.minting import Tokens
from factory.sheets import Grid, Layout, Sheets, lay_out
from factory.store import Store
from mesh.error import FieldViolation
from mesh.errors import BatchStateConflict, ValidationFailed

PAGE_SIZE = 200
PIECE_BYTES = 1 << 20
PDF_LIMIT = 10_000
"""Labels in a PDF at most: its pages are kept until its end, about 6 MB for so many."""
SVG_SCALE = 1


class LabelFormat(StrEnum):
    """Form of a file of labels."""

    ZIP_SVG = "ZIP_SVG"
    PDF = "PDF"


@dataclass(frozen=True, slots=True)
class LabelOrder:
    """Which labels, and how; `max_labels` 0 is all from `first_index` on."""

    batch_id: UUID
    form: LabelFormat
    level: ErrorLevel
    grid: Grid
    first_index: int = 0
    max_labels: int = 0


@dataclass(frozen=True, slots=True)
class Piece:
    """What follows in the file, at most 1 MiB; labels drawn so far, of how many."""

    data: bytes
    drawn: int
    label_count: int


class LabelFile(Protocol):
    """A file of labels being made."""

    def add(self, token: str, code: segno.QRCode) -> bytes:
        """Takes the next label and gives what can be sent by now."""
        ...

    def close(self) -> Iterator[bytes]:
        """Gives the rest."""
        ...


class ZipFile:
    """One SVG file a label, named by the product's index."""

    def __init__(self, batch: Batch, first_index: int) -> None:
        self._archive = Archive(batch.created_at, name=lambda number: f"{first_index + number:07d}.svg")

    def add(self, token: str, code: segno.QRCode) -> bytes:
        """See LabelFile."""
        del token
        return self._archive.add(draw(code, QrFormat.SVG, SVG_SCALE))

    def close(self) -> Iterator[bytes]:
        """See LabelFile."""
        return self._archive.close()


class PdfFile:
    """Pages of a grid, all of which come at the end."""

    def __init__(self, layout: Layout) -> None:
        self._sheets = Sheets(layout)

    def add(self, token: str, code: segno.QRCode) -> bytes:
        """See LabelFile."""
        self._sheets.add(token, code)
        return b""

    def close(self) -> Iterator[bytes]:
        """See LabelFile."""
        return self._sheets.close()


class Labels:
    """The labels of factories' batches."""

    def __init__(self, store: Store, tokens: Tokens, turns: Turns, *, url_prefix: str) -> None:
        self._store = store
        self._tokens = tokens
        self._turns = turns
        self._url_prefix = url_prefix

    async def make(self, factory_id: UUID, order: LabelOrder) -> AsyncGenerator[Piece, None]:
        """The file, piece by piece. Raises BatchNotFound, BatchStateConflict, ValidationFailed."""
        layout = lay_out(order.grid)
        async with self._store.connection(factory_id) as connection:
            batch = await self._store.batch(connection, factory_id, order.batch_id)
        count = _count(batch, order)
        file: LabelFile = ZipFile(batch, order.first_index) if order.form is LabelFormat.ZIP_SVG else PdfFile(layout)
        drawn = 0
        async for page in self._token_pages(batch, order.first_index, count):
            data = b"".join([await self._turns.take(partial(self._draw, file, token, order)) for token in page])
            drawn += len(page)
            for piece in _pieces(data) or [b""]:
                yield Piece(piece, drawn, count)
        parts = file.close()
        while (part := await asyncio.to_thread(next, parts, None)) is not None:
            for piece in _pieces(part):
                yield Piece(piece, drawn, count)

    def _draw(self, file: LabelFile, token: str, order: LabelOrder) -> bytes:
        return file.add(token, qr_code(self._url_prefix, token, order.level))

    async def _token_pages(self, batch: Batch, first_index: int, count: int) -> AsyncIterator[list[str]]:
        after, end = None, first_index + count
        while first_index < end:
            async with self._store.connection(batch.factory_id) as connection:
                rows = await self._store.products(
                    connection,
                    batch,
                    first_index=first_index,
                    after=after,
                    limit=min(PAGE_SIZE, end - first_index),
                )
            first_index, after = rows[-1].index + 1, rows[-1].product_id
            yield list(self._tokens.stored((row.kid, row.product_id.bytes) for row in rows))


def _count(batch: Batch, order: LabelOrder) -> int:
    """Labels that the file will have. Raises BatchStateConflict, ValidationFailed."""
    if batch.state is BatchState.CANCELLED or not 0 < batch.product_count == batch.issued_count:
        raise BatchStateConflict(state=batch.state)
    rest = batch.issued_count - order.first_index
    if rest <= 0:
        raise _invalid("first_index", f"the batch has {batch.issued_count} products")
    count = min(rest, order.max_labels or rest)
    if order.form is LabelFormat.PDF and count > PDF_LIMIT:
        raise _invalid("max_labels", f"a PDF has at most {PDF_LIMIT} labels and this one would have {count}")
    return count


def _invalid(field: str, description: str) -> ValidationFailed:
    violation = FieldViolation(field, "labels.range", description)
    return ValidationFailed(violations=(violation,), summary=f"{field}: {description}")


def _pieces(data: bytes) -> list[bytes]:
    return [data[start : start + PIECE_BYTES] for start in range(0, len(data), PIECE_BYTES)]
