"""A database with the queue of a service, and a pool on it."""

from collections.abc import AsyncIterator

import asyncpg
import pytest

from mesh.database import connect
from mesh.jobs import Jobs
from tests.databases import Database, Databases

JOBS = Jobs("factory")


@pytest.fixture
async def database(databases: Databases) -> AsyncIterator[Database]:
    async with databases.clone("factory") as database:
        yield database


@pytest.fixture
async def pool(database: Database) -> AsyncIterator["asyncpg.Pool[asyncpg.Record]"]:
    async with await connect(database.settings("factory"), schema="factory") as pool:
        yield pool
