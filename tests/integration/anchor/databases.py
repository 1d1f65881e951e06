"""Databases with Anchor's schema."""

import asyncpg
from pydantic import SecretStr

from anchor.store import MIGRATIONS
from mesh.config import DatabaseSettings
from mesh.migrate import ensure_roles, migrate


async def migrated(dsn: str, password: str, name: str) -> None:
    """Makes a database with Anchor's schema on the owner's server."""
    server = await asyncpg.connect(dsn)
    try:
        await ensure_roles(server, {"anchor": password})
        await server.execute(f"CREATE DATABASE {name}")
        owner = await asyncpg.connect(dsn, database=name)
        try:
            await migrate(owner, schema="anchor", folder=MIGRATIONS)
        finally:
            await owner.close()
    finally:
        await server.close()


def as_anchor(host: str, port: int, password: str, name: str) -> DatabaseSettings:
    """The settings of the service's own role."""
    url = f"postgresql://voketag_anchor@{host}:{port}/{name}"
    return DatabaseSettings(database_url=url, database_password=SecretStr(password))
