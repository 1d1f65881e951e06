"""A PostgreSQL with generated data (bench/admin_data.py), made once in a folder and opened again while that stays.

BENCH_DATA names the folder that data is kept in, by its size; otherwise it goes when the bench ends.
"""

import os
import shutil
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import asyncpg

from bench.admin_data import count_others, fill
from bench.admin_scans import LONG, Size
from mesh import database
from mesh.local.postgres import PostgresFiles, PostgresServer
from mesh.local.secrets import Secrets
from mesh.migrate import SERVICES, ensure_roles
from tests.databases import Database, bring_up
from tests.integration.admin.world import Ground
from tests.servers import PASSWORD, PostgresAddress, free_port

SCHEMAS = ("factory", "scan", "anchor", "admin")
FILLING = {
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_wal_size": "4GB",
    "full_page_writes": "off",
    "autovacuum": "off",
    "shared_buffers": "1GB",
    "work_mem": "256MB",
    "maintenance_work_mem": "1GB",
    "max_parallel_workers_per_gather": "0",
}
"""While data is made nothing is asked of the server but to be quick."""
SERVING = {"shared_buffers": "1GB"}
MADE = "made"


@dataclass(frozen=True)
class Place:
    """What was made, the ground it is on, and PostgreSQL's process."""

    size: Size
    ground: Ground
    postmaster: int


def folder_of_all() -> tuple[Path, bool]:
    """Where data goes, and whether it stays."""
    kept = os.environ.get("BENCH_DATA")
    return (Path(kept), True) if kept else (Path(tempfile.mkdtemp(prefix="voketag-bench-")), False)


@asynccontextmanager
async def place(scans: int, products: int) -> AsyncIterator[Place]:
    """Data of this size, made when it is not there."""
    everything, stays = folder_of_all()
    folder = everything / f"admin-{scans}-{products}"
    folder.mkdir(parents=True, exist_ok=True)
    for made in (everything, folder):
        made.chmod(0o755)
    try:
        if not (folder / MADE).exists():
            shutil.rmtree(folder / "postgres", ignore_errors=True)
            await make(folder, Size(scans, products, datetime.now(UTC)))
        [end] = (folder / MADE).read_text().splitlines()
        size = Size(scans, products, datetime.fromisoformat(end))
        server = await _started(folder, durable=True, settings=SERVING)
        try:
            assert server.child.pid is not None
            at = Place(size, _ground(folder, server), server.child.pid)
            await _bring_up(at.ground.database)  # what was kept may be older than the service
            yield at
        finally:
            await server.stop()
    finally:
        if not stays:
            shutil.rmtree(everything, ignore_errors=True)


async def make(folder: Path, size: Size) -> None:
    """Makes data in a folder; killed on the way, it is made anew the next time."""
    began = time.perf_counter()
    Secrets(folder / "secrets", os.urandom).make()
    server = await _started(folder, durable=False, settings=FILLING)
    try:
        on = _ground(folder, server)

        async def connect() -> "asyncpg.Connection[asyncpg.Record]":
            return await asyncpg.connect(on.database.dsn)

        await _bring_up(on.database)
        owner = await connect()
        await fill(connect, size)
        made = time.perf_counter()
        async with await database.connect(on.settings(database_seconds=LONG), schema="admin") as pool:
            await count_others(pool)
        await owner.execute("VACUUM ANALYZE", timeout=LONG)
        room = await owner.fetchval("SELECT pg_database_size(current_database()) >> 20")
        await owner.close()
    finally:
        await server.stop()
    (folder / MADE).write_text(size.end.isoformat())
    print(
        f"{size.scans:,} scans of {size.products:,} products made and counted in {made - began:.0f} s "
        f"({size.scans / (made - began):,.0f}/s), ready in {time.perf_counter() - began:.0f} s, {room:,} MB",
        flush=True,
    )


async def _bring_up(at: Database) -> None:
    owner = await asyncpg.connect(at.dsn)
    await ensure_roles(owner, dict.fromkeys(SERVICES, PASSWORD))
    for service in SCHEMAS:
        await bring_up(owner, service)
    await owner.close()


async def _started(folder: Path, *, durable: bool, settings: dict[str, str]) -> PostgresServer:
    files = PostgresFiles(folder / "postgres", folder / "run", folder / "postgres.log")
    server = PostgresServer(files, free_port(), PASSWORD, durable=durable, settings=settings)
    await server.start()
    return server


def _ground(folder: Path, server: PostgresServer) -> Ground:
    address = PostgresAddress("127.0.0.1", server.port, "voketag", PASSWORD, server.dsn())
    return Ground(Database("postgres", address), Secrets(folder / "secrets", os.urandom), folder)
