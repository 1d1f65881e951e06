"""Real servers for tests: one of each kind for a whole run, started when a test first asks for it.

A pytest plugin; tests/conftest.py names it: `pytest_plugins = ("tests.servers",)`. It gives the session fixtures
`postgres`, `valkey`, `valkey_cluster` and `anvil`. The servers belong to the process that controls the run: xdist's
workers ask it over a socket, and the kernel ends the servers with it, however it ends.

Tests that kill or bend a server start their own, with `start_postgres(tmp_path)` and its like.
"""

import asyncio
import json
import os
import random
import shutil
import socket
import tempfile
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pytest

from mesh.local.anvil import CHAIN_ID, AnvilServer
from mesh.local.ports import PortPicker
from mesh.local.postgres import PostgresFiles, PostgresServer
from mesh.local.server import Server
from mesh.local.valkey import ValkeyServer
from tests.clusters import ValkeyCluster

VARIABLE = "VOKETAG_TEST_SERVERS"
PASSWORD = "a password of tests only"
MNEMONIC = "test test test test test test test test test test test junk"


@dataclass(frozen=True)
class PostgresAddress:
    """`dsn` is the owner's, a superuser, on the database `postgres`: make a database of your own."""

    host: str
    port: int
    user: str
    password: str
    dsn: str


@dataclass(frozen=True)
class ValkeyAddress:
    """`url` names database 0 of 16; every worker of a run shares the server."""

    url: str


@dataclass(frozen=True)
class AnvilAddress:
    """A chain that mines each transaction at once; the accounts of `mnemonic` hold 10,000 ether each."""

    url: str
    chain_id: int
    mnemonic: str


_PORTS = PortPicker(random.SystemRandom())


def free_port() -> int:
    """That nobody else who picks ports will get while this process works, or not for a long time."""
    return _PORTS.pick()


async def start_postgres(folder: Path, *, durable: bool = False) -> PostgresServer:
    """A started server of one's own in the folder, owner's password PASSWORD; stop it."""
    files = PostgresFiles(folder / "postgres", folder / "run", folder / "postgres.log")
    server = PostgresServer(files, free_port(), PASSWORD, durable=durable)
    await server.start()
    return server


async def start_valkey(folder: Path, *, durable: bool = False) -> ValkeyServer:
    """A started server of one's own in the folder, password PASSWORD; stop it."""
    server = ValkeyServer(folder / "valkey", free_port(), PASSWORD, log=folder / "valkey.log", durable=durable)
    await server.start()
    return server


async def start_anvil(folder: Path, *, accounts: int = 10, block_time: float | None = None) -> AnvilServer:
    """A started chain of one's own in the folder; it mines at once, or every `block_time` seconds; stop it."""
    server = AnvilServer(
        folder / "anvil",
        free_port(),
        log=folder / "anvil.log",
        automine=block_time is None,
        block_time=block_time or 1.0,
        accounts=accounts,
    )
    await server.start()
    return server


async def start_cluster(folder: Path, *, durable: bool = False) -> ValkeyCluster:
    """A started cluster of one's own in the folder; stop it."""
    cluster = ValkeyCluster(folder, PASSWORD, free_port=free_port, durable=durable)
    await cluster.start()
    return cluster


def _address(server: Server | ValkeyCluster) -> PostgresAddress | ValkeyAddress | AnvilAddress:
    match server:
        case PostgresServer():
            return PostgresAddress("127.0.0.1", server.port, "voketag", PASSWORD, server.dsn())
        case ValkeyServer() | ValkeyCluster():
            return ValkeyAddress(server.url)
        case AnvilServer():
            return AnvilAddress(server.url, CHAIN_ID, MNEMONIC)
    raise AssertionError(server)


_START: dict[str, Callable[[Path], Coroutine[None, None, Server | ValkeyCluster]]] = {
    "postgres": start_postgres,
    "valkey": start_valkey,
    "valkey_cluster": start_cluster,
    "anvil": lambda folder: start_anvil(folder, accounts=32),
}


class SharedServers:
    """The run's servers, in a thread of the controlling process; answers `<kind>\\n` with the address as JSON."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="voketag-tests-"))
        self._folder.chmod(0o755)
        self.path = self._folder / "servers.sock"
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(str(self.path))
        self._socket.listen()  # from now on a connection waits for the thread
        self._started: dict[str, asyncio.Task[Server | ValkeyCluster]] = {}
        self._listening = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), name="test-servers")

    def open(self) -> None:
        """Begin to answer; starts no server yet."""
        self._thread.start()
        self._listening.wait()

    def close(self) -> None:
        """Stop what was started, and forget it all."""
        self._loop.call_soon_threadsafe(self._closing.set)
        self._thread.join()
        shutil.rmtree(self._folder, ignore_errors=True)

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._closing = asyncio.Event()
        door = await asyncio.start_unix_server(self._answer, sock=self._socket)
        self._listening.set()
        await self._closing.wait()
        door.close()
        for server in await asyncio.gather(*self._started.values(), return_exceptions=True):
            if isinstance(server, Server | ValkeyCluster):
                await server.stop()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        kind = (await reader.readline()).decode().strip()
        if kind not in self._started:
            self._started[kind] = asyncio.create_task(_START[kind](self._folder))
        try:
            answer: dict[str, object] = {"address": asdict(_address(await asyncio.shield(self._started[kind])))}
        except Exception as error:  # noqa: BLE001 - the test that asked must hear it
            answer = {"error": str(error)}
        with suppress(OSError):
            writer.write(json.dumps(answer).encode())
            await writer.drain()
            writer.close()
            await writer.wait_closed()


_KEY = pytest.StashKey[SharedServers]()


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):  # not one of xdist's workers
        servers = config.stash[_KEY] = SharedServers()
        servers.open()
        os.environ[VARIABLE] = str(servers.path)


def pytest_unconfigure(config: pytest.Config) -> None:
    if servers := config.stash.get(_KEY, None):
        del os.environ[VARIABLE]
        servers.close()


def _ask(kind: str) -> dict[str, Any]:
    with socket.socket(socket.AF_UNIX) as line:
        line.connect(os.environ[VARIABLE])
        line.sendall(kind.encode() + b"\n")
        answer: dict[str, dict[str, Any]] = json.loads(b"".join(iter(lambda: line.recv(4096), b"")))
    if "error" in answer:
        pytest.fail(f"{kind} could not be started: {answer['error']}", pytrace=False)
    return answer["address"]


@pytest.fixture(scope="session")
def postgres() -> PostgresAddress:
    return PostgresAddress(**_ask("postgres"))


@pytest.fixture(scope="session")
def valkey() -> ValkeyAddress:
    return ValkeyAddress(**_ask("valkey"))


@pytest.fixture(scope="session")
def valkey_cluster() -> ValkeyAddress:
    """One of its nodes."""
    return ValkeyAddress(**_ask("valkey_cluster"))


@pytest.fixture(scope="session")
def anvil() -> AnvilAddress:
    return AnvilAddress(**_ask("anvil"))
