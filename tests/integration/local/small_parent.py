"""A small program that starts PostgreSQL, Valkey and anvil, prints their pids, and waits to be ended.

python small_parent.py FOLDER [UID BINARIES]: as that user, if given; the server is then PostgreSQL alone.
"""

import asyncio
import os
import random
import sys
from contextlib import AsyncExitStack
from pathlib import Path

import asyncpg.connect_utils  # everything that is imported late is imported now: the user may not reach it later

from mesh.local.anvil import AnvilServer
from mesh.local.ports import PortPicker
from mesh.local.postgres import PostgresFiles, PostgresServer
from mesh.local.server import Server
from mesh.local.valkey import ValkeyServer


def servers(folder: Path, binaries: Path | None) -> list[Server]:
    pick = PortPicker(random.SystemRandom()).pick
    files = PostgresFiles(folder / "postgres", folder / "run", folder / "postgres.log")
    postgres = PostgresServer(files, pick(), "secret", binaries=binaries, durable=False)
    if binaries is not None:
        return [postgres]
    valkey = ValkeyServer(folder / "valkey", pick(), "secret", log=folder / "valkey.log")
    anvil = AnvilServer(folder / "anvil", pick(), log=folder / "anvil.log")
    return [postgres, valkey, anvil]


async def main(folder: Path, binaries: Path | None) -> None:
    async with AsyncExitStack() as stack:
        started = [await stack.enter_async_context(server) for server in servers(folder, binaries)]
        for server in started:
            if isinstance(server, PostgresServer):
                connection = await asyncpg.connect(server.dsn())
                assert await connection.fetchval("SELECT current_user") == "voketag"
                await connection.close()
        print(*(server.child.pid for server in started), flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    if len(sys.argv) > 2:
        uid = int(sys.argv[2])
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
    try:
        asyncio.run(main(Path(sys.argv[1]), Path(sys.argv[3]) if len(sys.argv) > 3 else None))
    except KeyboardInterrupt:
        print("interrupted", flush=True)
