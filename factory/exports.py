"""Exports: the products of a batch as a file, page by page in the order of their index."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from enum import StrEnum
from typing import Any
from uuid import UUID

import orjson

from factory.attributes import RULES
from factory.batch import Batch, ProductState
from factory.minting import Tokens
from factory.store import Store
from mesh.ahead import ahead
from mesh.tables import csv_lines, escaped

PAGE_ROWS = 2_000
PIECE_BYTES = 1024 * 1024
STATES = tuple(ProductState.__members__)
"""By products.state."""

COLUMNS = ("index", "product_id", "token", "url", "state", *RULES, "attributes")

Page = Sequence[Any]
Render = Callable[[Page, Sequence[str]], str]


class ExportFormat(StrEnum):
    """The names are those of voketag.factory.v1.ExportFormat."""

    CSV = "CSV"
    JSON_LINES = "JSON_LINES"


def csv_cells(attributes: bytes) -> tuple[str, ...]:
    """The cells of canonical attributes: the known columns, then the others as JSON, '' for none."""
    others = orjson.loads(attributes)
    known = [escaped(others.pop(column, "")) for column in RULES]
    return (*known, orjson.dumps(others).decode() if others else "")


class Exports:
    """Exports the batches of factories. Another factory's batch is as unknown as none."""

    def __init__(self, store: Store, tokens: Tokens, *, url_prefix: str) -> None:
        self._store = store
        self._tokens = tokens
        self._url_prefix = url_prefix
        self._closing = asyncio.Event()

    def close(self) -> None:
        """Ends the exports under way: the server drains."""
        self._closing.set()

    async def run(self, factory_id: UUID, batch_id: UUID, form: ExportFormat) -> AsyncGenerator[bytes, None]:
        """The file in pieces of at most 1 MiB. Raises BatchNotFound, ShuttingDown."""
        async with self._store.connection(factory_id) as connection:
            batch = await self._store.batch(connection, factory_id, batch_id)
        if form is ExportFormat.CSV:
            yield csv_lines([COLUMNS]).encode()
        render = self._csv(batch) if form is ExportFormat.CSV else self._json_lines(batch)
        async with aclosing(ahead(self._pages(batch), 1, self._closing)) as pages:
            async for page in pages:
                data = render(page, self._tokens_of(page)).encode()
                for start in range(0, len(data), PIECE_BYTES):
                    yield data[start : start + PIECE_BYTES]

    async def _pages(self, batch: Batch) -> AsyncGenerator[Page, None]:
        first_index, after = 0, None
        while True:
            # A connection a page: a slow reader holds none.
            async with self._store.connection(batch.factory_id) as connection:
                rows = self._store.sql.select_products(
                    connection,
                    factory_id=batch.factory_id,
                    batch_id=batch.batch_id,
                    first_index=first_index,
                    after=after,
                    page_size=PAGE_ROWS,
                )
                page = [row async for row in rows]
            if page:
                yield page
            if len(page) < PAGE_ROWS:
                return
            first_index, after = page[-1]["index"] + 1, page[-1]["product_id"]

    def _tokens_of(self, page: Page) -> list[str]:
        kid = self._tokens.kid
        if all(row["kid"] == kid for row in page):
            return self._tokens.fresh([row["product_id"].bytes for row in page])
        return list(self._tokens.stored((row["kid"], row["product_id"].bytes) for row in page))

    def _csv(self, batch: Batch) -> Render:
        template, prefix = csv_cells(batch.template), self._url_prefix

        def render(page: Page, tokens: Sequence[str]) -> str:
            return csv_lines(
                [
                    (index, product_id, token, prefix + token, STATES[state])
                    + (template if attributes is None else csv_cells(attributes))
                    for (product_id, index, _, state, attributes), token in zip(page, tokens, strict=True)
                ]
            )

        return render

    def _json_lines(self, batch: Batch) -> Render:
        template, prefix = batch.template.decode(), self._url_prefix

        def render(page: Page, tokens: Sequence[str]) -> str:
            return "".join(
                [
                    f'{{"index":{index},"product_id":"{product_id}","token":"{token}","url":"{prefix}{token}",'
                    f'"state":"{STATES[state]}",'
                    f'"attributes":{template if attributes is None else attributes.decode()}}}\n'
                    for (product_id, index, _, state, attributes), token in zip(page, tokens, strict=True)
                ]
            )

        return render
