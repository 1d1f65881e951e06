"""PostgreSQL: a pool under the service's own role, and named SQL."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import aiosql
import asyncpg
import structlog
from asyncpg.pool import PoolConnectionProxy

from mesh.config import DatabaseSettings
from mesh.errors import DependencyUnavailable

log = structlog.get_logger()
AWAY = (
    OSError,
    asyncpg.PostgresConnectionError,
    asyncpg.CannotConnectNowError,
    asyncpg.TooManyConnectionsError,
    asyncpg.InternalClientError,  # from a connection that is lost in the very moment that it is made or used
    TimeoutError,
)
"""What asyncpg raises when the server cannot be reached; a wrong password is none of it."""

GONE = (
    *AWAY,
    asyncpg.InterfaceError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.PostgresSystemError,
)
"""What a statement raises when its server went away or cannot go on, connections in use included."""

RETRY_SECONDS = 1.0
"""When a caller may come back, at the earliest."""

Connection: TypeAlias = "asyncpg.Connection[Any] | PoolConnectionProxy[Any]"
"""One connection, whether or not it belongs to a pool."""


async def connect(
    settings: DatabaseSettings,
    *,
    schema: str,
    wait_seconds: float = 10.0,
    connection_class: type[asyncpg.Connection] = asyncpg.Connection,
) -> "asyncpg.Pool[Any]":
    """A pool whose connections see `schema` first.

    Waits up to `wait_seconds` for a server that is starting. Raises DependencyUnavailable.
    """
    password = settings.database_password.get_secret_value()
    deadline = asyncio.get_running_loop().time() + wait_seconds
    delay = 0.05
    while True:
        try:
            return await asyncpg.create_pool(
                settings.database_url,
                password=password,
                min_size=settings.database_pool_min,
                max_size=settings.database_pool_max,
                command_timeout=settings.database_seconds,
                reset=_keep,
                connection_class=connection_class,
                timeout=5,
                server_settings={"search_path": f"{schema},pg_catalog", "application_name": f"voketag-{schema}"},
            )
        except AWAY as error:
            if asyncio.get_running_loop().time() + delay > deadline:
                log.error("PostgreSQL cannot be reached", url=settings.database_url, error=str(error))
                raise DependencyUnavailable(dependency="PostgreSQL") from error
        await asyncio.sleep(delay)
        delay = min(delay * 2, 1.0)


async def _keep(_: object) -> None:
    """Spares a round trip on every release: a pooled connection keeps no state between uses but its settings."""


@contextmanager
def reached() -> Iterator[None]:
    """Turns a server that went away, or has no room left, into DependencyUnavailable."""
    try:
        yield
    except GONE as error:
        if isinstance(error, asyncpg.InsufficientResourcesError):  # nothing else would tell who has to make room
            log.error("PostgreSQL lacks resources", sqlstate=error.sqlstate, error=str(error))
        raise DependencyUnavailable(dependency="PostgreSQL", retry_after=RETRY_SECONDS) from error


def load_queries(folder: Path) -> Any:
    """The statements of `folder`/*.sql by name (aiosql), to be called with a connection first."""
    return aiosql.from_path(folder, "asyncpg")


def affected(status: str) -> int:
    """Rows that a statement changed, out of what asyncpg's `execute` answers."""
    return int(status.rpartition(" ")[2])


async def check(database: "asyncpg.Pool[Any] | Connection") -> None:
    """Answers when PostgreSQL does."""
    await database.fetchval("SELECT 1", timeout=2)
