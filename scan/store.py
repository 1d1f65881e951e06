"""What scan reads from PostgreSQL: the factory's view of products."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import orjson

from mesh.database import AWAY, load_queries
from mesh.errors import DependencyUnavailable
from scan.card import Card
from scan.receipt import Tree
from trust.tiles import Tile

GONE = (*AWAY, asyncpg.InterfaceError, asyncpg.AdminShutdownError, asyncpg.CrashShutdownError)
"""What a query raises when its server went away, connections in use included."""


class Store:
    """Products, read only."""

    def __init__(self, pool: "asyncpg.Pool[Any]") -> None:
        self._pool = pool
        queries = load_queries(Path(__file__).parent / "sql")
        self._cards: str = queries.cards_by_product.sql
        self._tree: str = queries.tree_by_product.sql

    async def cards(self, product_ids: Sequence[bytes]) -> Mapping[bytes, Card]:
        """The cards of those products that exist, by id of 16 bytes. Raises DependencyUnavailable."""
        rows = await self._fetch(self._cards, [UUID(bytes=product_id) for product_id in product_ids])
        return {row["product_id"].bytes: _card(row) for row in rows}

    async def tree(self, product_id: UUID) -> Tree | None:
        """The part of the batch's tree around a product; None until it is built. Raises DependencyUnavailable."""
        for row in await self._fetch(self._tree, product_id):
            if row["batch_root"] is not None:
                tiles = zip(row["tile_levels"], row["tile_indexes"], row["tile_hashes"], strict=True)
                return Tree(row["batch_root"], row["tree_size"], tuple([Tile(*tile) for tile in tiles]))
        return None

    async def _fetch(self, query: str, value: object) -> Sequence[Any]:
        try:
            return await self._pool.fetch(query, value)
        except GONE as error:
            raise DependencyUnavailable(dependency="PostgreSQL") from error


def _card(row: Any) -> Card:
    return Card(
        product_id=row["product_id"],
        batch_id=row["batch_id"],
        index=row["product_index"],
        kid=row["kid"],
        product_state=row["product_state"],
        batch_state=row["batch_state"],
        factory_name=row["factory_name"],
        attributes=orjson.loads(row["attributes"]),
    )
