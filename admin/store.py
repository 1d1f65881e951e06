"""The schema `admin`, statement by statement; sql/ says what each is for."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import asyncpg

from mesh.database import Connection, load_queries, reached
from mesh.errors import EmailTaken

ACQUIRE_SECONDS = 5.0
MIGRATIONS = Path(__file__).parent / "migrations"


@contextmanager
def _named_errors() -> Iterator[None]:
    """Raises DependencyUnavailable when the connection is lost, EmailTaken when two people would have one email."""
    try:
        with reached():
            yield
    except asyncpg.UniqueViolationError as error:
        if error.constraint_name != "users_email_key":
            raise
        raise EmailTaken from None


class Store:
    """Named statements on a pool. All raise DependencyUnavailable when PostgreSQL is away."""

    def __init__(self, pool: "asyncpg.Pool[Any]") -> None:
        self._pool = pool
        self.sql = self.queries()

    @staticmethod
    def queries() -> Any:
        """The statements alone, to be called with a connection first."""
        return load_queries(Path(__file__).parent / "sql")

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """A connection for single statements."""
        with _named_errors():
            async with self._pool.acquire(timeout=ACQUIRE_SECONDS) as connection:
                yield connection

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        """A connection in a transaction that commits when the block ends well."""
        async with self.connection() as connection, connection.transaction():
            yield connection
