"""What scan reads from PostgreSQL: the factory's view of products."""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import orjson
from asyncpg.pool import PoolConnectionProxy

from mesh.database import load_queries, reached
from scan.card import Card
from scan.receipt import Tree
from trust.tiles import Tile

READ_SECONDS = 1.0


class Lane:
    """One connection kept between reads: a pool resets each that comes back, a round trip that reads do not need.

    Reads wait for each other; one that fails or is given up takes its connection with it.
    """

    def __init__(self, pool: "asyncpg.Pool[Any]") -> None:
        self._pool = pool
        self._turn = asyncio.Lock()
        self._connection: PoolConnectionProxy[Any] | None = None

    async def fetch(self, query: str, value: object) -> Sequence[Any]:
        """The rows of a statement with one parameter."""
        async with self._turn:
            if self._connection is not None:
                with suppress(asyncpg.InterfaceError):  # it was lost while nobody read
                    return await self._read(query, value)
            return await self._read(query, value)

    async def _read(self, query: str, value: object) -> Sequence[Any]:
        try:
            if self._connection is None:
                self._connection = await self._pool.acquire(timeout=READ_SECONDS)
            return await self._connection.fetch(query, value, timeout=READ_SECONDS)
        except BaseException:
            connection, self._connection = self._connection, None
            if connection is not None:
                with suppress(asyncpg.InterfaceError):  # a lost one has left the pool already
                    connection.terminate()
            raise


class Store:
    """Products, read only."""

    def __init__(self, pool: "asyncpg.Pool[Any]") -> None:
        self._pool = pool
        self._lane = Lane(pool)
        queries = load_queries(Path(__file__).parent / "sql")
        self._cards: str = queries.cards_by_product.sql
        self._tree: str = queries.tree_by_product.sql

    async def cards(self, product_ids: Sequence[bytes]) -> Mapping[bytes, Card]:
        """The cards of those products that exist, by id of 16 bytes. Raises DependencyUnavailable."""
        with reached():
            rows = await self._lane.fetch(self._cards, [UUID(bytes=product_id) for product_id in product_ids])
        return {row["product_id"].bytes: _card(row) for row in rows}

    async def tree(self, product_id: UUID) -> Tree | None:
        """The part of the batch's tree around a product; None until it is built. Raises DependencyUnavailable."""
        with reached():
            row = await self._pool.fetchrow(self._tree, product_id, timeout=READ_SECONDS)
        if row is None or row["batch_root"] is None:
            return None
        tiles = zip(row["tile_levels"], row["tile_indexes"], row["tile_hashes"], strict=True)
        return Tree(row["batch_root"], row["tree_size"], tuple([Tile(*tile) for tile in tiles]))


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
