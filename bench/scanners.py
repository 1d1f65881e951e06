"""What the benches of scans stand on: PostgreSQL, Valkey, an anchor, products, and scan services on them."""

import asyncio
import logging
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog
from redis.asyncio import Redis

from mesh.local.postgres import PostgresServer
from mesh.local.process import Child
from mesh.local.valkey import ValkeyServer
from scan.shard import product_key
from scan.stream import stream_key
from tests.fakes.anchor import FakeAnchor
from tests.integration.scan.world import HASTY, Batch, Database, Service
from tests.servers import start_postgres, start_valkey

BUDGETS = ("SCAN", "DEVICE", "CODE", "FACTORY")
GENEROUS = {f"VOKETAG_{budget}_{part}": "1000000" for budget in BUDGETS for part in ("PER_SECOND", "BURST")}
SETTINGS = GENEROUS | HASTY | {"VOKETAG_LOG_LEVEL": "error"}


@dataclass(frozen=True)
class Ground:
    """Servers and a database with a factory in it, in a folder that goes when they stop."""

    folder: Path
    postgres: PostgresServer
    valkey: ValkeyServer
    anchor: FakeAnchor
    database: Database

    @property
    def postmaster(self) -> int:
        return self.postgres.child.pid or 0

    @property
    def valkey_pid(self) -> int:
        return self.valkey.child.pid or 0

    def service(self) -> Service:
        """A scan service that is not started; its budgets are out of the way."""
        return Service(self.folder, self.database, self.valkey.url, self.anchor.target, **SETTINGS)

    def written(self, name: str, tokens: Sequence[str]) -> str:
        """Where a file with these tokens is."""
        path = self.folder / name
        path.write_text("\n".join(tokens))
        return str(path)


@asynccontextmanager
async def ground(*, durable: bool = False) -> AsyncIterator[Ground]:
    """Started servers, and what is on them."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))  # migrations tell a lot
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="voketag-bench-")))
        folder.chmod(0o755)
        postgres = await start_postgres(folder, durable=durable)
        stack.push_async_callback(postgres.stop)
        valkey, anchor = await start_valkey(folder), FakeAnchor()  # type: ignore[abstract]
        stack.push_async_callback(valkey.stop)
        await anchor.start()
        stack.push_async_callback(anchor.stop)
        database = Database(postgres.dsn())
        await database.create()
        yield Ground(folder, postgres, valkey, anchor, database)


@asynccontextmanager
async def scanning(on: Ground, processes: int = 1) -> AsyncIterator[list[Service]]:
    """So many scan services, started."""
    async with AsyncExitStack() as stack:
        services = [on.service() for _ in range(processes)]
        for service in services:
            stack.push_async_callback(service.stop)
            await service.start()
        yield services


@asynccontextmanager
async def journaling(on: Ground) -> AsyncIterator[int]:
    """The journal's writer, with its ledger; its process id."""
    settings = on.service().environment | {"VOKETAG_METRICS_PORT": "0", "VOKETAG_LEDGER_CHECKPOINT_SECONDS": "10"}
    child = Child("journal", [sys.executable, "-m", "scan", "journal"], log=on.folder / "journal.log", env=settings)
    await child.start()
    try:
        yield child.pid or 0
    finally:
        await child.stop()


async def journaled(on: Ground) -> None:
    """Waits until the journal has everything that was scanned."""
    async with Redis.from_url(on.valkey.url) as client, asyncio.timeout(60):
        while await client.xlen(stream_key(0)) > 1:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.02)


async def bytes_of_products(url: str, batch: Batch, sample: int = 1_000) -> float:
    """Bytes that Valkey keeps of a product that was scanned: key, value and entry (MEMORY USAGE), on average."""
    async with Redis.from_url(url) as client:
        sizes: list[Any] = [
            await client.memory_usage(product_key(product_id.bytes, 0), samples=0)
            for product_id in batch.product_ids[:sample]
        ]
    scanned = [size for size in sizes if size]
    return sum(scanned) / len(scanned)
