"""One database and one server for the tests of a module; every test has people and addresses of its own."""

import os
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from mesh.local.secrets import Secrets
from tests.databases import Databases
from tests.integration.admin.world import Door, Ground, Person

ONCE: dict[str, Any] = {"scope": "module", "loop_scope": "module"}


@pytest_asyncio.fixture(**ONCE)
async def ground(databases: Databases, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Ground]:
    folder = tmp_path_factory.mktemp("admin")
    secrets = Secrets(folder / "secrets", os.urandom)
    secrets.make()
    async with databases.clone("factory", "scan", "admin") as database:
        yield Ground(database, secrets, folder)


@pytest_asyncio.fixture(**ONCE)
async def door(ground: Ground) -> AsyncIterator[Door]:
    async with ground.server() as door:
        yield door


@pytest_asyncio.fixture(loop_scope="module")
async def admin(door: Door) -> Person:
    return await door.admin()
