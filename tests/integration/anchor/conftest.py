from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from voketag.anchor.v1 import anchor_pb2_grpc

from mesh.config import DatabaseSettings
from mesh.database import connect
from mesh.local.anvil import AnvilServer
from tests.databases import Databases
from tests.integration.anchor.doors import Door
from tests.integration.anchor.world import Ground, World
from tests.servers import AnvilAddress, start_anvil


@pytest.fixture
async def database(databases: Databases) -> AsyncIterator[DatabaseSettings]:
    """A database of one's own, by the service's role."""
    async with databases.clone("anchor") as database:
        yield database.settings("anchor")


@pytest.fixture
async def pool(database: DatabaseSettings) -> AsyncIterator["asyncpg.Pool[Any]"]:
    async with await connect(database, schema="anchor") as pool:
        yield pool


@pytest.fixture
async def ground(anvil: AnvilAddress) -> AsyncIterator[Ground]:
    """A contract of one's own on the shared chain, which mines each transaction at once."""
    ground = await Ground.lay(anvil.url, anvil.chain_id)
    yield ground
    await ground.web3.provider.disconnect()


@pytest.fixture
def world(pool: "asyncpg.Pool[Any]", ground: Ground) -> World:
    return World(pool, ground)


@pytest.fixture
async def chain_server(tmp_path: Path) -> AsyncIterator[AnvilServer]:
    """A chain to bend, stop and kill; it mines each transaction at once."""
    server = await start_anvil(tmp_path)
    yield server
    await server.kill()


@pytest.fixture
async def bent(pool: "asyncpg.Pool[Any]", chain_server: AnvilServer) -> AsyncIterator[World]:
    """A world on a chain of its own."""
    ground = await Ground.lay(chain_server.url)
    yield World(pool, ground)
    await ground.web3.provider.disconnect()


@pytest.fixture
async def door(world: World) -> AsyncIterator[Door]:
    door = Door(world)
    server = door.server()
    await server.start()
    async with door.changes.listening():
        yield door
        await server.stop()


@pytest.fixture
async def factory(door: Door) -> AsyncIterator[Any]:
    async with door.channel("factory") as line:
        yield anchor_pb2_grpc.AnchorServiceStub(line)


@pytest.fixture
async def public(door: Door) -> AsyncIterator[Any]:
    async with door.channel(None) as line:
        yield anchor_pb2_grpc.AnchorServiceStub(line)
