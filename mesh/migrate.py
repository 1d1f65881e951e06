"""Schemas by numbered files, run by the owner: `NNNN_pre_words.sql` before new code runs, `NNNN_post_words.sql` after.

Every file runs in one transaction and is recorded with its checksum; a file that changed after it ran stops everything.
"""

import hashlib
import re
from contextlib import suppress
from pathlib import Path

import asyncpg
import structlog

from mesh.config import OwnerSettings
from mesh.database import Connection

log = structlog.get_logger()
NAME = re.compile(r"\d{4}_(pre|post)_[a-z0-9_]+\.sql")
SERVICES = ("scan", "factory", "anchor", "admin")
LOCK = 0x766F6B65  # any number that every migration of this product takes: they run one at a time
MEETINGS = 50  # the most others that may be at the roles of a server at the same moment

TABLE = """
CREATE SCHEMA IF NOT EXISTS {schema};
CREATE TABLE IF NOT EXISTS {schema}.migrations (
  name text PRIMARY KEY, checksum bytea NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())
"""
ROLE = """
DO $$ BEGIN
  IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'voketag_{service}') THEN
    CREATE ROLE voketag_{service} LOGIN;
  END IF;
END $$
"""


class MigrationError(Exception):
    """A migration file is misnamed or was changed after it ran."""


async def ensure_roles(connection: Connection, passwords: dict[str, str]) -> None:
    """Makes the role of every service, and sets the passwords given by service.

    Roles belong to a whole server and LOCK to one of its databases: who met somebody in another database begins again.
    Of those who meet, one gets through each time. Not to be called within a transaction.
    """
    for _ in range(MEETINGS):
        with suppress(asyncpg.UniqueViolationError, asyncpg.DuplicateObjectError, asyncpg.InternalServerError):
            await _ensure_roles(connection, passwords)
            return
    await _ensure_roles(connection, passwords)


async def _ensure_roles(connection: Connection, passwords: dict[str, str]) -> None:
    async with connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock($1)", LOCK)
        for service in SERVICES:
            await connection.execute(ROLE.format(service=service))
        for service, password in passwords.items():
            quoted = await connection.fetchval("SELECT quote_literal($1::text)", password)
            await connection.execute(f"ALTER ROLE voketag_{service} PASSWORD {quoted}")


def read(folder: Path) -> list[tuple[str, str]]:
    """The migrations of a folder in order: name and text. Raises MigrationError."""
    paths = sorted(folder.glob("*.sql"))
    for path in paths:
        if not NAME.fullmatch(path.name):
            raise MigrationError(f"{path.name} is not named NNNN_pre_words.sql or NNNN_post_words.sql")
    return [(path.name, path.read_text()) for path in paths]


async def migrate(connection: Connection, *, schema: str, folder: Path) -> list[str]:
    """Runs what has not run yet, in order: the names of the files run. Raises MigrationError."""
    await connection.execute("SELECT pg_advisory_lock($1)", LOCK)
    try:
        await ensure_roles(connection, {})
        await connection.execute(TABLE.format(schema=schema))
        await connection.execute(f"SET search_path = {schema}, pg_catalog")
        applied = dict(await connection.fetch("SELECT name, checksum FROM migrations"))
        files = read(folder)
        return [name for name, text in files if await _run(connection, name, text, applied.get(name))]
    finally:
        await connection.execute("RESET search_path")
        await connection.execute("SELECT pg_advisory_unlock($1)", LOCK)


async def _run(connection: Connection, name: str, text: str, applied: bytes | None) -> bool:
    checksum = hashlib.sha256(text.encode()).digest()
    if applied is not None:
        if applied != checksum:
            raise MigrationError(f"{name} was changed after it ran")
        return False
    async with connection.transaction():
        await connection.execute(text)
        await connection.execute("INSERT INTO migrations (name, checksum) VALUES ($1, $2)", name, checksum)
    log.info("migrated", file=name)
    return True


async def migrate_as_owner(settings: OwnerSettings, *, schema: str, folder: Path) -> None:
    """Connects as the owner and migrates; what `python -m <service> migrate` does."""
    password = settings.owner_database_password.get_secret_value()
    connection = await asyncpg.connect(settings.owner_database_url, password=password, timeout=10)
    try:
        await migrate(connection, schema=schema, folder=folder)
    finally:
        await connection.close()
