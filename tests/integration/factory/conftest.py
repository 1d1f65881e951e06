"""One database, one server and one anchor for the tests of a module; every test is a customer of its own."""

import os
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from mesh.local.secrets import Secrets
from tests.databases import Databases
from tests.fakes.clock import HandClock
from tests.fakes.final_anchor import FinalAnchor
from tests.integration.factory.meters import NOON
from tests.integration.factory.world import Customer, Door, Ground
from tests.servers import ValkeyAddress

ONCE: dict[str, Any] = {"scope": "module", "loop_scope": "module"}


@pytest_asyncio.fixture(**ONCE)
async def ground(
    databases: Databases, valkey: ValkeyAddress, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Ground]:
    folder = tmp_path_factory.mktemp("factory")
    secrets = Secrets(folder / "secrets", os.urandom)
    secrets.make()
    async with databases.clone("factory") as database:
        yield Ground(database, valkey, secrets, folder)


@pytest_asyncio.fixture(**ONCE)
async def door(ground: Ground) -> AsyncIterator[Door]:
    async with ground.server() as door:
        yield door


@pytest_asyncio.fixture(**ONCE)
async def anchor() -> AsyncIterator[FinalAnchor]:
    anchor = FinalAnchor()  # type: ignore[abstract]
    await anchor.start()
    yield anchor
    await anchor.stop()


@pytest_asyncio.fixture(loop_scope="module")
async def customer(door: Door) -> AsyncIterator[Customer]:
    async with door.customer() as customer:
        yield customer


@pytest.fixture
def calendar() -> HandClock:
    clock = HandClock()
    clock.seconds = NOON
    return clock


@pytest_asyncio.fixture(loop_scope="module")
async def gate(ground: Ground, calendar: HandClock) -> AsyncIterator[Door]:
    """A server whose calendar the test turns."""
    async with ground.server(calendar=calendar, products_a_day=100, concurrent_imports=2) as door:
        yield door


@pytest_asyncio.fixture(loop_scope="module")
async def buyer(gate: Door) -> AsyncIterator[Customer]:
    async with gate.customer() as customer:
        yield customer
