"""The schema, brought up to date: our migrations, then the job queue's own tables."""

from typing import Any

import asyncpg

from admin.store import MIGRATIONS
from mesh.config import OwnerSettings
from mesh.jobs import Jobs
from mesh.migrate import migrate


async def bring_up(connection: "asyncpg.Connection[Any]") -> None:
    """Runs what has not run yet, as the owner. Raises MigrationError."""
    await migrate(connection, schema="admin", folder=MIGRATIONS)
    await Jobs("admin").install(connection, role="voketag_admin")


async def bring_up_as_owner(settings: OwnerSettings) -> None:
    """Connects as the owner and brings the schema up; what `python -m admin migrate` does."""
    password = settings.owner_database_password.get_secret_value()
    connection = await asyncpg.connect(settings.owner_database_url, password=password, timeout=10)
    try:
        await bring_up(connection)
    finally:
        await connection.close()
