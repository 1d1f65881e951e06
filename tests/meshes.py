"""The whole local mesh for acceptance tests: `voketag up` as a person runs it, once for all tests that share it.

Tests that use the fixture `mesh` carry the mark `xdist_group("mesh")`, so that one worker runs them all. Tests that
break the mesh start their own with `started(home)`.
"""

import asyncio
import json
import os
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from voketag.factory.v1 import account_pb2, factory_pb2
from voketag.factory.v1.account_pb2_grpc import AccountServiceStub
from voketag.factory.v1.factory_pb2_grpc import FactoryServiceStub

from mesh.cli.accounts import open_account
from mesh.client import peer, with_api_key
from mesh.clock import SystemClock
from mesh.identity import ServiceTokens

ROOT = Path(__file__).resolve().parents[1]
VOKETAG = (sys.executable, "-m", "mesh.cli")
UP_SECONDS = 60


@dataclass(frozen=True)
class Answer:
    """What an HTTP door answered."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def reason(self) -> str:
        """The reason of an error in the contract's shape."""
        infos = [d for d in self.json["details"] if d["@type"] == "type.googleapis.com/google.rpc.ErrorInfo"]
        assert len(infos) == 1
        assert infos[0]["domain"] == "voketag.com"
        return str(infos[0]["reason"])


@dataclass(frozen=True)
class Mesh:
    """A mesh that runs under `home`."""

    home: Path
    pid: int

    @property
    def ports(self) -> dict[str, int]:
        ports: dict[str, int] = json.loads((self.home / "mesh.json").read_text())["ports"]
        return ports

    @property
    def pids(self) -> dict[str, int]:
        pids: dict[str, int] = json.loads((self.home / "mesh.json").read_text())["pids"]
        return pids

    @property
    def edge(self) -> str:
        return f"http://127.0.0.1:{self.ports['edge']}"

    @property
    def chain(self) -> str:
        return f"http://127.0.0.1:{self.ports['chain']}"

    def log(self, name: str) -> str:
        return (self.home / "logs" / f"{name}.log").read_text()

    def ask(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        door: str = "edge",
    ) -> Answer:
        """One request; JSON unless the headers say otherwise."""
        url = f"http://127.0.0.1:{self.ports[door]}{path}"
        kind = {"content-type": "application/json"} if body is not None else {}
        request = urllib.request.Request(url, body, {**kind, **(headers or {})}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return Answer(answer.status, {k.lower(): v for k, v in answer.headers.items()}, answer.read())
        except urllib.error.HTTPError as error:
            with error:
                return Answer(error.code, {k.lower(): v for k, v in error.headers.items()}, error.read())

    def verify(self, token: str, **fields: object) -> Answer:
        return self.ask("POST", f"/api/verify/{token}", json.dumps(fields).encode())

    def open_factory(self, name: str = "Acceptance factory") -> account_pb2.CreateApiKeyResponse:
        """A new factory with its API key."""

        async def run() -> account_pb2.CreateApiKeyResponse:
            key = (self.home / "secrets" / "identity_admin.pem").read_text()
            tokens = ServiceTokens("admin", key, SystemClock())
            async with peer(f"127.0.0.1:{self.ports['factory']}", tokens=tokens, service="factory") as channel:
                return await open_account(AccountServiceStub(channel), name)

        return asyncio.run(run())

    def order(self, key: str, count: int = 3, **template: str) -> factory_pb2.CreateBatchResponse:
        """A small batch through the edge, by gRPC, with its products."""

        async def run() -> factory_pb2.CreateBatchResponse:
            async with with_api_key(f"127.0.0.1:{self.ports['edge']}", key) as channel:
                request = factory_pb2.CreateBatchRequest(
                    request_id=str(uuid4()),
                    name="acceptance",
                    product_count=count,
                    template=template,
                    return_products=True,
                )
                return await FactoryServiceStub(channel).CreateBatch(request)

        return asyncio.run(run())

    def completed(self, key: str, batch_id: str) -> factory_pb2.Batch:
        """The batch when its root is final."""

        async def run() -> factory_pb2.Batch:
            batch = factory_pb2.Batch()
            async with with_api_key(f"127.0.0.1:{self.ports['edge']}", key) as channel:
                watch = FactoryServiceStub(channel).WatchBatch(
                    factory_pb2.WatchBatchRequest(batch_id=batch_id), timeout=60
                )
                async for update in watch:
                    batch = update.batch
            return batch

        return asyncio.run(run())


def environment(home: Path) -> dict[str, str]:
    return {**os.environ, "VOKETAG_HOME": str(home), "COLUMNS": "200"}


def voketag(home: Path, *arguments: str, seconds: float = 120) -> "subprocess.CompletedProcess[str]":
    """One command, as at a terminal that nobody looks at."""
    command = (*VOKETAG, *arguments)
    return subprocess.run(
        command, cwd=ROOT, env=environment(home), capture_output=True, text=True, timeout=seconds, check=False
    )


def wait_until(condition: Callable[[], bool], seconds: float = 30) -> None:
    """Asks twenty times a second until the condition holds; fails when it never does."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition never held"
        time.sleep(0.05)


@contextmanager
def started(home: Path) -> Iterator[Mesh]:
    """A mesh of one's own, stopped at the end.

    A new one is tried again when another mesh, starting in the same moment, took one of the ports that it had chosen.
    """
    tries = 1 if home.exists() and any(home.iterdir()) else 3
    for left in reversed(range(tries)):
        home.mkdir(parents=True, exist_ok=True)
        process = _up(home)
        if process.poll() is None or "is the port taken" not in (home / "up.log").read_text() or not left:
            break
        shutil.rmtree(home)
    try:
        assert process.poll() is None, (home / "up.log").read_text()
        yield Mesh(home, process.pid)
    finally:
        process.terminate()
        process.wait(60)


def _up(home: Path) -> "subprocess.Popen[bytes]":
    """`voketag up`, once it is up or has ended."""
    with (home / "up.log").open("w") as log:
        process = subprocess.Popen((*VOKETAG, "up"), cwd=ROOT, env=environment(home), stdout=log, stderr=log)
    try:
        wait_until(lambda: "The mesh is up" in (home / "up.log").read_text() or process.poll() is not None, UP_SECONDS)
    except BaseException:
        process.terminate()
        process.wait(60)
        raise
    return process


@pytest.fixture(scope="session")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    with started(tmp_path_factory.mktemp("mesh")) as running:
        yield running


@pytest.fixture(scope="session")
def api_key(mesh: Mesh) -> str:
    return mesh.open_factory().secret


@pytest.fixture(scope="session")
def batch(mesh: Mesh, api_key: str) -> factory_pb2.CreateBatchResponse:
    """A completed batch of ten products."""
    created = mesh.order(api_key, 10, name="Acceptance oil", gtin="7899000000003")
    assert mesh.completed(api_key, created.batch.batch_id).state == factory_pb2.BATCH_STATE_COMPLETED
    return created
