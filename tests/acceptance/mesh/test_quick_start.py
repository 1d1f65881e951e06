"""What the README promises to a newcomer, run as written; and a mesh that is stopped, restarted and killed."""

import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from tests.meshes import ROOT, VOKETAG, Mesh, environment, started, voketag, wait_until

README = (ROOT / "README.md").read_text()


def commands(block: int) -> list[str]:
    """The commands of a `sh` block of the README, comments left out."""
    found = re.findall(r"```sh\n(.*?)```", README, re.DOTALL)[block]
    return [line.split("#")[0].strip() for line in found.splitlines() if line.strip()]


def test_two_commands_and_they_are_targets() -> None:
    assert commands(0) == ["make demo", "make test"]
    for command in commands(0):
        subprocess.run([*shlex.split(command), "--dry-run"], cwd=ROOT, check=True, capture_output=True)


def test_demo_does_the_main_job_and_stops(tmp_path: Path) -> None:
    done = voketag(tmp_path / "home", "demo")
    assert done.returncode == 0, done.stdout + done.stderr
    for words in (
        "1,000 products",
        "GENUINE_CODE, scan number 1",
        "valid: ",
        "UNKNOWN_CODE",
        "refused",
        "consumer page",
        "logged in as admin@",
    ):
        assert words in done.stdout
    assert voketag(tmp_path / "home", "status").returncode == 1
    assert len(re.findall(r"login +admin@\S+ / \S{20,}", done.stdout)) == 1
    again = voketag(tmp_path / "home", "demo")
    assert again.returncode == 0, again.stdout + again.stderr
    assert "logged in as admin@" in again.stdout
    assert not re.search(r"login +admin@\S+ / \S{20,}", again.stdout), "a login is printed once"


def test_demo_fails_when_a_step_does(tmp_path: Path) -> None:
    table = tmp_path / "bad.csv"
    table.write_text("gtin,name\n123,Broken\n")
    done = voketag(tmp_path / "home", "demo", "--csv", str(table))
    assert done.returncode == 1
    assert "the demo failed" in done.stderr
    assert voketag(tmp_path / "home", "status").returncode == 1


@pytest.mark.xdist_group("mesh")
def test_commands_with_the_mesh_up(mesh: Mesh, tmp_path: Path) -> None:
    for command in commands(1):
        words = shlex.split(command.replace("tokens.csv", str(tmp_path / "tokens.csv")))
        assert words[0] == ".venv/bin/voketag"
        done = voketag(mesh.home, *words[1:])
        assert done.returncode == 0, done.stderr
    assert len((tmp_path / "tokens.csv").read_text().splitlines()) == 1001


def test_restart_keeps_everything_and_kills_are_mended(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with started(home) as mesh:
        key = mesh.open_factory().secret
        created = mesh.order(key)
        token = created.products[0].token
        mesh.completed(key, created.batch.batch_id)
        assert mesh.verify(token).json["scanCount"] == 1
        ports = mesh.ports
        second = voketag(home, "up")
        assert second.returncode == 1
        assert f"started by pid {mesh.pid}" in second.stderr
        assert voketag(home, "status").returncode == 0
        children = mesh.pids
        for name in ("scan", "anchor-submitter"):
            os.kill(children[name], signal.SIGKILL)
        wait_until(lambda: mesh.pids.get("scan") not in (None, children["scan"]))
        wait_until(lambda: mesh.verify(token).status == 200)
        assert voketag(home, "down").returncode == 0
        assert not [pid for pid in children.values() if Path(f"/proc/{pid}").exists()]
    with started(home) as mesh:
        assert mesh.ports == ports
        answer = mesh.verify(token).json
        assert answer["scanCount"] == 3
        receipt = mesh.ask("GET", f"/api/receipt/{token}")
        assert receipt.json["state"] == "FINAL"
        (tmp_path / "r.json").write_bytes(receipt.body)
        assert voketag(home, "verify", str(tmp_path / "r.json"), "--rpc", mesh.chain).returncode == 0
        os.kill(mesh.pid, signal.SIGKILL)
        children = mesh.pids
        wait_until(lambda: not [pid for pid in children.values() if Path(f"/proc/{pid}").exists()])
    with started(home) as mesh:
        assert mesh.verify(token).json["verdict"] == "VERDICT_GENUINE_CODE"


def test_taken_port_is_named(tmp_path: Path) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        done = voketag(tmp_path / "home", "up", "--port", str(port))
    assert done.returncode == 1
    assert f"port {port} is taken by pid {os.getpid()}" in done.stderr


def test_help_explains_itself(tmp_path: Path) -> None:
    done = voketag(tmp_path, "--help")
    assert done.returncode == 0
    for name in ("demo", "up", "down", "status", "order", "factory", "admin", "verify", "chain", "migrate", "worker"):
        assert re.search(rf"^  {name} +[A-Z]", done.stdout, re.MULTILINE), name


@pytest.mark.parametrize(
    ("service", "named"),
    [
        ("scan", "VOKETAG_KEYRING"),
        ("factory", "VOKETAG_API_KEY_ROOT"),
        ("anchor", "VOKETAG_DATABASE_URL"),
        ("admin", "VOKETAG_USER_KEYS"),
    ],
)
def test_service_lists_all_settings_it_lacks(tmp_path: Path, service: str, named: str) -> None:
    bare = {name: value for name, value in environment(tmp_path).items() if not name.startswith("VOKETAG_")}
    done = subprocess.run(
        (sys.executable, "-m", service), cwd=ROOT, env=bare, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 2
    assert named in done.stderr
    assert "VOKETAG_DATABASE_PASSWORD" in done.stderr
    assert "Traceback" not in done.stderr


def test_mesh_record_is_whole_json(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with started(home) as mesh:
        record = json.loads((home / "mesh.json").read_text())
        servers = {"scan", "factory", "anchor", "admin", "edge"}
        assert set(record["pids"]) >= servers | {"scan-journal", "factory-worker", "admin-worker", "anchor-submitter"}
        assert mesh.ports["edge"] == record["ports"]["edge"]


def test_order_survives_kill_9_of_the_factory_and_gives_every_token(tmp_path: Path) -> None:
    rows, home = 100_000, tmp_path / "home"
    table, out, log = tmp_path / "big.csv", tmp_path / "tokens.csv", tmp_path / "order.log"
    table.write_text("name,serial\n" + "".join(f"Oil,{number}\n" for number in range(rows)))
    with started(home) as mesh:
        assert voketag(home, "order", "--csv", "examples/products.csv").returncode == 0, "opens the local factory"
        command = (*VOKETAG, "order", "--csv", str(table), "--out", str(out))
        with (
            log.open("w") as said,
            subprocess.Popen(command, cwd=ROOT, env=environment(home), stdout=said, stderr=said) as order,
        ):
            for share in (10, 3):
                wait_until(partial(has_grown, out, rows * 52 // share))
                killed = mesh.pids["factory"]
                os.kill(killed, signal.SIGKILL)
                wait_until(partial(is_replaced, mesh, killed))
            assert order.wait(120) == 0, log.read_text()
    numbers, tokens = zip(*(line.split(",") for line in out.read_text().splitlines()[1:]), strict=True)
    assert list(map(int, numbers)) == list(range(rows)), "each row once, in order"
    assert len(set(tokens)) == rows
    assert f"{rows:,} products issued" in log.read_text()


def has_grown(path: Path, size: int) -> bool:
    return path.exists() and path.stat().st_size > size


def is_replaced(mesh: Mesh, pid: int) -> bool:
    return mesh.pids["factory"] != pid
