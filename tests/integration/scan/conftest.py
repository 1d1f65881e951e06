"""One scan service for the tests of a module; each caller comes from an address of its own. A journal for each test."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import pytest_asyncio
from voketag.scan.v1 import scan_pb2_grpc

from mesh.local.server import Server
from mesh.migrate import ensure_roles
from tests import databases as copies
from tests.fakes.anchor import FakeAnchor
from tests.fakes.chain_ledger import install
from tests.integration.scan.journals import World
from tests.integration.scan.world import Database, Service, stub_of
from tests.servers import PASSWORD, PostgresAddress, ValkeyAddress, start_postgres, start_valkey

ONCE: dict[str, Any] = {"scope": "module", "loop_scope": "module"}


@pytest_asyncio.fixture(**ONCE)
async def database(postgres: PostgresAddress) -> AsyncIterator[Database]:
    database = Database(postgres.dsn)
    await database.create()
    yield database
    await database.drop()


@pytest_asyncio.fixture(**ONCE)
async def anchor() -> AsyncIterator[FakeAnchor]:
    anchor = FakeAnchor()  # type: ignore[abstract]
    await anchor.start()
    yield anchor
    await anchor.stop()


@pytest_asyncio.fixture(**ONCE)
async def service(
    database: Database, valkey: ValkeyAddress, anchor: FakeAnchor, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Service]:
    service = Service(tmp_path_factory.mktemp("scan"), database, valkey.url, anchor.target)
    await service.start()
    yield service
    await service.stop()


@pytest_asyncio.fixture(**ONCE)
async def stub(service: Service) -> AsyncIterator["scan_pb2_grpc.ScanServiceAsyncStub"]:
    async with grpc.aio.insecure_channel(service.target) as channel:
        yield stub_of(channel)


@pytest.fixture
async def world(databases: copies.Databases, tmp_path: Path) -> AsyncIterator[World]:
    server = await start_valkey(tmp_path)
    async with databases.clone("scan") as database:
        world = World(database, server)
        async with world.owner() as owner:
            await install(owner)
        yield world
    await server.stop()


@pytest.fixture
async def alone(tmp_path: Path) -> AsyncIterator[tuple[World, Server]]:
    """A world on a PostgreSQL of its own."""
    postgres, valkey = await start_postgres(tmp_path, durable=True), await start_valkey(tmp_path)
    database = copies.Database(
        "postgres", PostgresAddress("127.0.0.1", postgres.port, "voketag", PASSWORD, postgres.dsn())
    )
    world = World(database, valkey)
    async with world.owner() as owner:
        await ensure_roles(owner, {"scan": PASSWORD})
        await copies.bring_up(owner, "scan")
        await install(owner)
    yield world, postgres
    await valkey.kill()
    await postgres.kill()
