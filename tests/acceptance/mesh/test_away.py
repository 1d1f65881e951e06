"""A part of the mesh is away: at start each process names it and gives up; while running the others go on."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from voketag.factory.v1 import factory_pb2

from mesh.local.environment import Environment
from mesh.local.mesh import PORTS
from mesh.local.secrets import Secrets
from mesh.migrate import ensure_roles, migrate
from tests.meshes import ROOT, Mesh, started, wait_until
from tests.servers import PASSWORD, PostgresAddress, ValkeyAddress, free_port, start_postgres

COMMANDS = {
    "scan": ("scan", "scan"),
    "factory": ("factory", "factory"),
    "factory work": ("factory", None),
    "anchor": ("anchor", "anchor"),
    "anchor submit": ("anchor", None),
}


@pytest.fixture
def elsewhere(tmp_path: Path) -> Environment:
    """An environment in which every setting is there and nothing listens."""
    secrets = Secrets(tmp_path / "secrets", os.urandom)
    secrets.make()
    deployment = tmp_path / "deployment.json"
    deployment.write_text('{"chain_id": 31337, "contract": "0x7FD6C3634C94dBc682721B4c6e5876C5941B6312"}')
    return Environment({name: free_port() for name in PORTS}, secrets, deployment, "http://127.0.0.1/r/")


def run(command: str, settings: dict[str, str], **changes: str) -> "subprocess.CompletedProcess[str]":
    bare = {name: value for name, value in os.environ.items() if not name.startswith("VOKETAG_")}
    return subprocess.run(
        (sys.executable, "-m", *command.split()),
        cwd=ROOT,
        env={**bare, **settings, **changes},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("command", COMMANDS)
def test_without_its_parts_none_starts(elsewhere: Environment, command: str) -> None:
    service, port = COMMANDS[command]
    done = run(command, elsewhere.service(service, port=port, metrics=f"{service}_metrics"))
    assert done.returncode == 1, done.stderr
    assert ("the chain" if command == "anchor submit" else "PostgreSQL") in done.stderr, "what is asked first is named"
    assert "Traceback" not in done.stderr


@contextmanager
def migrated(folder: Path, environment: Environment) -> Iterator[int]:
    """The port of a PostgreSQL that has every schema and the roles of the environment's secrets."""
    folder.mkdir()

    async def prepare() -> None:
        import asyncpg

        await server.ensure_database("voketag")
        connection = await asyncpg.connect(server.dsn(database="voketag"))
        roles = {
            name: environment.secrets.postgres_password(f"voketag_{name}").read_text()
            for name in ("scan", "factory", "anchor")
        }
        await ensure_roles(connection, roles)
        for service in roles:
            await migrate(connection, schema=service, folder=ROOT / service / "migrations")
        await connection.close()

    loop = asyncio.new_event_loop()
    server = loop.run_until_complete(start_postgres(folder))
    try:
        loop.run_until_complete(prepare())
        yield server.port
    finally:
        loop.run_until_complete(server.stop())
        loop.close()


def test_with_postgresql_alone_the_next_part_is_named(elsewhere: Environment, tmp_path: Path) -> None:
    with migrated(tmp_path / "postgres", elsewhere) as port:
        elsewhere.ports["postgres"] = port
        for command, part in {"scan": "Valkey", "factory": "Valkey", "factory work": "Valkey"}.items():
            service, name = COMMANDS[command]
            done = run(
                command, elsewhere.service(service, port=name, metrics=f"{service}_metrics"), VOKETAG_START_SECONDS="1"
            )
            assert done.returncode == 1, (command, done.stderr)
            assert part in done.stderr, (command, done.stderr)
            assert "Traceback" not in done.stderr


def test_wrong_database_password_is_told_apart(elsewhere: Environment, postgres: PostgresAddress) -> None:
    elsewhere.ports["postgres"] = postgres.port
    done = run("scan", elsewhere.service("scan", port="scan", metrics="scan_metrics"))
    assert done.returncode == 1
    assert "password authentication failed" in done.stderr
    assert PASSWORD not in done.stderr
    assert elsewhere.secrets.postgres_password("voketag_scan").read_text() not in done.stderr


@contextmanager
def stopped(pids: list[int]) -> Iterator[None]:
    """Processes that hang: connections stay open and nothing is answered."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def family(pid: int) -> list[int]:
    """A process and its children."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(child for text in children for child in family(int(text)))]


def outcomes(mesh: Mesh, token: str) -> dict[str, str]:
    answer = mesh.verify(token)
    assert answer.status == 200, answer.body
    assert answer.json["verdict"] == "VERDICT_GENUINE_CODE"
    return {
        c["name"].removeprefix("CHECK_NAME_"): c["outcome"].removeprefix("CHECK_OUTCOME_")
        for c in answer.json["checks"]
    }


def test_verdicts_go_on_and_come_back_whole(tmp_path: Path, valkey: ValkeyAddress) -> None:
    del valkey
    with started(tmp_path / "home") as mesh:
        key = mesh.open_factory().secret
        created = mesh.order(key, 3)
        assert mesh.completed(key, created.batch.batch_id).state == factory_pb2.BATCH_STATE_COMPLETED
        known, cold = created.products[0].token, created.products[1].token
        whole: Callable[[], bool] = lambda: set(outcomes(mesh, known).values()) == {"PASSED"}  # noqa: E731
        wait_until(whole)
        postgres, valkey_pids = family(mesh.pids["postgres"]), [mesh.pids["valkey"]]
        with stopped(valkey_pids):
            wait_until(lambda: outcomes(mesh, known)["SCAN_HISTORY"] == "NOT_CHECKED")
            assert mesh.verify(known).json["degraded"]
        wait_until(whole)
        with stopped(postgres):
            assert outcomes(mesh, known)["PRODUCT"] == "PASSED", "remembered"
            wait_until(lambda: outcomes(mesh, cold)["PRODUCT"] == "NOT_CHECKED")
            with stopped(valkey_pids):
                wait_until(lambda: outcomes(mesh, cold)["SCAN_HISTORY"] == "NOT_CHECKED")
                assert outcomes(mesh, cold)["TAG"] == "PASSED"
                forged = mesh.verify("0" * 50)
                assert (forged.status, forged.json["verdict"]) == (200, "VERDICT_UNKNOWN_CODE")
        wait_until(whole)
        wait_until(lambda: set(outcomes(mesh, cold).values()) == {"PASSED"})


def test_batch_waits_for_the_chain_and_is_anchored_when_it_is_back(tmp_path: Path) -> None:
    with started(tmp_path / "home") as mesh:
        key = mesh.open_factory().secret
        with stopped([mesh.pids["chain"]]):
            created = mesh.order(key, 3)
            batch = f"/v1/batches/{created.batch.batch_id}"
            state: Callable[[], str] = lambda: mesh.ask("GET", batch, headers={"x-api-key": key}).json["batch"]["state"]  # noqa: E731
            wait_until(lambda: state() == "BATCH_STATE_ANCHORING")
            receipt = mesh.ask("GET", f"/api/receipt/{created.products[0].token}")
            assert (receipt.status, receipt.json["state"]) == (200, "PENDING")
            assert outcomes(mesh, created.products[0].token)["ANCHOR"] == "NOT_CHECKED"
        assert mesh.completed(key, created.batch.batch_id).state == factory_pb2.BATCH_STATE_COMPLETED
