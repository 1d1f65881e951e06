"""Databases for tests: migrated once a worker and set of schemas, then copied for whoever needs one.

A pytest plugin, as tests/servers.py is: it gives the session fixture `databases`.
"""

import asyncio
import importlib
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import pytest
from pydantic import SecretStr

from mesh.config import DatabaseSettings
from mesh.migrate import SERVICES, ensure_roles, migrate
from tests.servers import PostgresAddress


@dataclass(frozen=True)
class Database:
    """A database with the schemas asked for; every role's password is that of the owner."""

    name: str
    server: PostgresAddress

    @property
    def dsn(self) -> str:
        """For the owner, password included."""
        return f"{self.server.dsn.rsplit('/', 1)[0]}/{self.name}"

    def url(self, service: str) -> str:
        """For the role of a service, password left out."""
        return f"postgresql://voketag_{service}@{self.server.host}:{self.server.port}/{self.name}"

    def settings(self, service: str) -> DatabaseSettings:
        """For the role of a service."""
        return DatabaseSettings(database_url=self.url(service), database_password=SecretStr(self.server.password))


async def bring_up(connection: "asyncpg.Connection[asyncpg.Record]", service: str) -> None:
    """Brings the schema of a service up, as `python -m <service> migrate` does."""
    package = Path(str(importlib.import_module(service).__file__)).parent
    if (package / "schema.py").exists():
        await importlib.import_module(f"{service}.schema").bring_up(connection)
    else:
        await migrate(connection, schema=service, folder=package / "migrations")


class Databases:
    """Makes databases on one server."""

    def __init__(self, server: PostgresAddress) -> None:
        self._server = server
        self._templates: dict[tuple[str, ...], str] = {}

    @asynccontextmanager
    async def clone(self, *services: str) -> AsyncIterator[Database]:
        """A database with the schemas of these services, dropped in the end."""
        database = Database(f"test_{secrets.token_hex(8)}", self._server)
        async with self._owner() as owner:
            await _create(owner, database.name, await self._template(owner, services))
        try:
            yield database
        finally:
            async with self._owner() as owner:
                await owner.execute(f"DROP DATABASE {database.name} WITH (FORCE)")

    @asynccontextmanager
    async def _owner(self) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
        connection = await asyncpg.connect(self._server.dsn)
        try:
            yield connection
        finally:
            await connection.close()

    async def _template(self, owner: "asyncpg.Connection[asyncpg.Record]", services: tuple[str, ...]) -> str:
        if services not in self._templates:
            database = Database(f"template_{secrets.token_hex(8)}", self._server)
            await ensure_roles(owner, dict.fromkeys(SERVICES, self._server.password))
            await _create(owner, database.name, "template1")
            connection = await asyncpg.connect(database.dsn)
            try:
                for service in services:
                    await bring_up(connection, service)
            finally:
                await connection.close()
            self._templates[services] = database.name
        return self._templates[services]


async def _create(owner: "asyncpg.Connection[asyncpg.Record]", name: str, template: str) -> None:
    """Copies a template; another worker may be at the same one, which PostgreSQL refuses rather than waits for."""
    async with asyncio.timeout(30):
        while True:
            try:
                await owner.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
            except asyncpg.ObjectInUseError:
                await asyncio.sleep(0.05)
            else:
                return


@pytest.fixture(scope="session")
def databases(postgres: PostgresAddress) -> Databases:
    return Databases(postgres)
