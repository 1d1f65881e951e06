"""Anchor's processes as they run in production: by `python -m`, settings in the environment."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg

from mesh.config import DatabaseSettings
from mesh.migrate import ensure_roles
from tests.databases import Database, bring_up
from tests.integration.anchor.world import Ground
from tests.servers import PostgresAddress

ROOT = Path(__file__).resolve().parents[3]
LEASE_SECONDS = 1.0


def key_file(folder: Path, key: str) -> Path:
    path = folder / "chain.key"
    path.write_text(key + "\n")
    path.chmod(0o600)
    return path


def settings(database: DatabaseSettings, ground: Ground, folder: Path, **changes: str) -> dict[str, str]:
    """The environment of a submitter that closes windows at once and looks often."""
    deployment = {"chain_id": ground.deployment.chain_id, "contract": ground.deployment.contract}
    values = {
        "database_url": database.database_url,
        "database_password": database.database_password.get_secret_value(),
        "chain_url": ground.url,
        "chain_key_file": str(key_file(folder, ground.key)),
        "deployment": json.dumps(deployment),
        "window_seconds": "0",
        "poll_seconds": "0.05",
        "lease_seconds": str(LEASE_SECONDS),
        "confirmations": "1",
        "start_seconds": "1",
    }
    return {f"VOKETAG_{name.upper()}": value for name, value in (values | changes).items()}


@asynccontextmanager
async def running(
    module: str, *arguments: str, env: dict[str, str], output: int | None = None
) -> AsyncIterator[asyncio.subprocess.Process]:
    """A process; killed at the end if it still runs. What it says goes where pytest's own output goes."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", module, *arguments),
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], **env},
        stdout=output,
        stderr=output,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


class Supervised:
    """A process that is started again whenever it ends, as a supervisor does it."""

    def __init__(self, module: str, *arguments: str, env: dict[str, str]) -> None:
        self._command = (module, *arguments)
        self._env = env
        self._process: asyncio.subprocess.Process | None = None

    def kill(self) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.kill()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            async with running(*self._command, env=self._env) as self._process:
                await self._process.wait()


@asynccontextmanager
async def supervised(module: str, *arguments: str, env: dict[str, str]) -> AsyncIterator[Supervised]:
    process = Supervised(module, *arguments, env=env)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(process.run())
        try:
            yield process
        finally:
            task.cancel()


async def outcome(module: str, *arguments: str, env: dict[str, str]) -> tuple[int, str]:
    """Runs a process to its end: its status, and everything it said."""
    async with running(module, *arguments, env=env, output=asyncio.subprocess.PIPE) as process:
        async with asyncio.timeout(60):
            said, complained = await process.communicate()
        assert process.returncode is not None
        return process.returncode, (said + complained).decode()


async def schema_on(server: PostgresAddress) -> DatabaseSettings:
    """Anchor's schema in a server that is about to be killed."""
    owner = await asyncpg.connect(server.dsn)
    try:
        await ensure_roles(owner, {"anchor": server.password})
        await bring_up(owner, "anchor")
    finally:
        await owner.close()
    return Database("postgres", server).settings("anchor")
