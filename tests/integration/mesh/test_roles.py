"""Roles are the whole server's: migrations of several databases make them at the same moment."""

import asyncio
from pathlib import Path

import asyncpg

from mesh.migrate import SERVICES, ensure_roles
from tests.servers import PASSWORD, start_postgres

DATABASES = 8
ROUNDS = 5


async def test_databases_of_one_server_make_its_roles_together(tmp_path: Path) -> None:
    server = await start_postgres(tmp_path)
    for number in range(DATABASES):
        await server.ensure_database(f"stage{number}")
    owners = [await asyncpg.connect(server.dsn(database=f"stage{number}")) for number in range(DATABASES)]

    for _ in range(ROUNDS):
        await asyncio.gather(*(ensure_roles(owner, dict.fromkeys(SERVICES, PASSWORD)) for owner in owners))

    made = await owners[0].fetch("SELECT rolname FROM pg_roles WHERE rolname LIKE 'voketag\\_%' ORDER BY rolname")
    assert [role["rolname"] for role in made] == [f"voketag_{service}" for service in sorted(SERVICES)]
    for owner in owners:
        await owner.close()
    await server.stop()
