"""Issuing: products, their leaves and the batch's counters, committed together or not at all."""

from dataclasses import dataclass
from uuid import UUID

from factory.batch import Batch
from factory.minting import Minted
from factory.store import ChunkRow, Connection, Store
from trust.tiles import Tile, TileBuilder


class SupersededError(Exception):
    """Another writer took the batch over, or the batch left the state in which products are issued."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """What one transaction commits: the row, the products' COPY, and the tiles that their leaves filled or grew."""

    row: ChunkRow
    copy: bytes
    tiles: list[Tile]


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows that a chunk answers: where they begin, how many, SHA-256 of them, and the refused ones encoded."""

    first_row: int
    count: int
    digest: bytes
    errors: bytes | None = None


class Tree:
    """The tree of a batch as it grows; every chunk must be committed in the order in which it was grown."""

    def __init__(self, builder: TileBuilder, size: int) -> None:
        self._builder = builder
        self.size = size

    @classmethod
    async def load(cls, store: Store, connection: Connection, batch: Batch) -> "Tree":
        """The tree as it was committed last."""
        edge = await store.edge(connection, batch.batch_id, batch.issued_count)
        return cls(TileBuilder.resume(batch.issued_count, edge), batch.issued_count)

    @property
    def root(self) -> bytes:
        """RFC 9162 root over the leaves so far."""
        return self._builder.finish().root

    def grow(self, rows: Rows, minted: Minted) -> Chunk:
        """The chunk that adds these products."""
        first_index = self.size
        self.size += len(minted.ids)
        tiles = self._builder.add(minted.leaf_hashes)
        tiles.extend(self._builder.finish().tiles)
        row = ChunkRow(
            first_row=rows.first_row,
            row_count=rows.count,
            first_index=first_index,
            issued=len(minted.ids),
            first_id=UUID(bytes=minted.ids[0]) if minted.ids else None,
            last_id=UUID(bytes=minted.ids[-1]) if minted.ids else None,
            digest=rows.digest,
            errors=rows.errors,
        )
        return Chunk(row, minted.copy, tiles)


async def commit(store: Store, connection: Connection, batch: Batch, chunk: Chunk) -> None:
    """Writes a chunk in the transaction under way. Raises SupersededError."""
    if not await store.advance(connection, batch, chunk.row):
        raise SupersededError
    if chunk.row.issued:
        await store.copy_products(connection, chunk.copy)
    await store.insert_chunk(connection, batch.batch_id, chunk.row, chunk.tiles)
