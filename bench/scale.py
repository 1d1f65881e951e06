"""Issuing into a full month beside issuing into an empty one, and what a row takes.

Run from the repository: python -m bench.scale [ROWS, in millions]. Two databases on one PostgreSQL: in one the month
has so many products already (20M by default), in the other none. Imports go to both in turn.
"""

import os
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import uvloop
from rich.progress import track
from voketag.factory.v1 import factory_pb2_grpc

from bench.factory import import_products, server
from bench.processes import family_cpu
from factory.minting import COLUMNS, Minter, raw_uuid7
from mesh.local.secrets import Secrets
from tests.databases import Databases
from tests.integration.factory.world import Ground
from tests.servers import PASSWORD, PostgresAddress, ValkeyAddress, start_postgres, start_valkey

IMPORT = 100_000
ROUNDS = 6
FILL = 100_000
TEMPLATE = b'{"gtin":"4006381333931"}'
SIZES = """
SELECT sum(pg_relation_size(relid)) AS rows, sum(pg_indexes_size(relid)) AS index
FROM pg_partition_tree('factory.products') WHERE isleaf
"""
"""Bytes of the products of all months."""


@dataclass(frozen=True, slots=True)
class Place:
    """A database and the factory server on it."""

    ground: Ground
    stub: Any
    metadata: Any
    pid: int


async def fill(on: Ground, millions: int) -> None:
    """Products of earlier today, as CreateBatch makes them, without their chunks."""
    async with on.owner() as owner:
        for _ in track(range(millions * 1_000_000 // FILL), description="filling"):
            minted = Minter(raw_uuid7, batch_id=raw_uuid7(), template=TEMPLATE, kid=1).mint_alike(0, FILL)
            source: Any = memoryview(minted.copy)
            await owner.copy_to_table("products", source=source, columns=COLUMNS, format="binary")
        await owner.execute("CHECKPOINT")
        [(of_rows, of_index)] = await owner.fetch(SIZES)
    rows = millions * 1_000_000
    print(f"bytes a product row: {of_rows / rows:.1f}, index {of_index / rows:.1f}")


@asynccontextmanager
async def places(folder: Path, millions: int) -> AsyncIterator[tuple[list[Place], int]]:
    """The empty one, the full one, and the process id of their PostgreSQL."""
    async with AsyncExitStack() as stack:
        postgres, valkey = await start_postgres(folder, durable=True), await start_valkey(folder)
        stack.push_async_callback(valkey.stop)
        stack.push_async_callback(postgres.stop)
        secrets = Secrets(folder / "secrets", os.urandom)
        secrets.make()
        address = PostgresAddress("127.0.0.1", postgres.port, "voketag", PASSWORD, postgres.dsn())
        made = []
        for rows in (0, millions):
            database = await stack.enter_async_context(Databases(address).clone("factory"))
            ground = Ground(database, ValkeyAddress(valkey.url), secrets, folder)
            if rows:
                await fill(ground, rows)
            door, child = await stack.enter_async_context(server(ground))
            channel = await stack.enter_async_context(grpc.aio.insecure_channel(door.target))
            _, key = await door.new_factory()
            assert child.pid is not None
            made.append(Place(ground, factory_pb2_grpc.FactoryServiceStub(channel), (("x-api-key", key),), child.pid))
        assert postgres.child.pid is not None
        yield made, postgres.child.pid


async def measured(place: Place, postmaster: int) -> tuple[float, float]:
    """Products a second, and PostgreSQL's µs a product."""
    before, started = family_cpu(postmaster), time.perf_counter()
    assert await import_products(place.stub, place.metadata, IMPORT) == IMPORT
    seconds = time.perf_counter() - started
    return IMPORT / seconds, (family_cpu(postmaster) - before) / IMPORT * 1e6


async def main(millions: int) -> None:
    with tempfile.TemporaryDirectory(prefix="voketag-bench-") as name:
        Path(name).chmod(0o755)
        async with places(Path(name), millions) as ((empty, full), postmaster):
            rounds = [[await measured(place, postmaster) for place in (empty, full)] for _ in range(ROUNDS)]
    for which, words in enumerate(("empty", f"{millions}M rows")):
        rate, cpu = (statistics.median(figures[which][part] for figures in rounds) for part in (0, 1))
        print(f"{words}: {rate:,.0f} products/s, PostgreSQL {cpu:.2f} µs of CPU a product")
    print(f"full / empty: {statistics.median(full[0] / empty[0] for empty, full in rounds):.2f}")


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 20))
