"""One scan service for the tests of a module; each caller comes from an address of its own."""

from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
import pytest_asyncio
from voketag.scan.v1 import scan_pb2_grpc

from tests.fakes.anchor import FakeAnchor
from tests.integration.scan.world import Database, Service, stub_of
from tests.servers import PostgresAddress, ValkeyAddress

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
