"""Products: one by its id, many by their index in a batch."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import repeat
from uuid import UUID

from factory.batch import Batch, Product, ProductState
from factory.minting import Tokens
from factory.store import ProductRow, Store
from mesh.errors import PageTokenInvalid, ProductNotFound
from mesh.paging import PageTokens

PAGE_SIZE = 100


@dataclass(frozen=True, slots=True)
class ProductPage:
    """Products by index, and the token of the next page or ''."""

    products: list[Product]
    next_page_token: str


def to_products(tokens: Tokens, rows: Iterable[tuple[ProductRow, Batch]]) -> list[Product]:
    """Products of stored rows, each with its batch, with their tokens."""
    return [
        Product(
            row.product_id,
            batch.batch_id,
            row.index,
            token,
            row.attributes or batch.template,
            ProductState(row.state),
        )
        for row, batch in rows
        for token in tokens.stored([(row.kid, row.product_id.bytes)])
    ]


class Products:
    """The products of factories. Another factory's product is as unknown as none."""

    def __init__(self, store: Store, tokens: Tokens, pages: PageTokens) -> None:
        self._store = store
        self._tokens = tokens
        self._pages = pages

    async def get(self, factory_id: UUID, product_id: UUID) -> Product:
        """Raises ProductNotFound."""
        async with self._store.connection(factory_id) as connection:
            row = await self._store.sql.select_product(connection, factory_id=factory_id, product_id=product_id)
        if row is None:
            raise ProductNotFound
        token = next(self._tokens.stored([(row["kid"], product_id.bytes)]))
        return Product(
            product_id,
            row["batch_id"],
            row["index"],
            token,
            row["attributes"] or row["template"],
            ProductState(row["state"]),
        )

    async def list(self, factory_id: UUID, batch_id: UUID, *, page_size: int, page_token: str) -> ProductPage:
        """A page of at most `page_size` products, 0 meaning 100. Raises BatchNotFound, PageTokenInvalid."""
        scope = f"products:{factory_id}:{batch_id}"
        first_index, after = self._cursor(page_token, scope) if page_token else (0, None)
        size = page_size or PAGE_SIZE
        async with self._store.connection(factory_id) as connection:
            batch = await self._store.batch(connection, factory_id, batch_id)
            rows = await self._store.products(connection, batch, first_index=first_index, after=after, limit=size + 1)
        page = rows[:size]
        more = self._pages.encode(f"{page[-1].index + 1}:{page[-1].product_id}", scope=scope) if rows[size:] else ""
        return ProductPage(to_products(self._tokens, zip(page, repeat(batch), strict=False)), more)

    def _cursor(self, page_token: str, scope: str) -> tuple[int, UUID]:
        index, separator, after = self._pages.decode(page_token, scope=scope).partition(":")
        if not separator:
            raise PageTokenInvalid
        return int(index), UUID(after)
