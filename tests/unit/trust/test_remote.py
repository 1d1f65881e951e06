"""A log read over HTTP, by `voketag audit-ledger --url` as a stranger runs it: whole, on from a checkpoint, forked."""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.unit.trust.ledgers import ORIGIN, SIGNER, MemoryLedger, event, ledger
from trust.checkpoint import Checkpoint
from trust.remote import LogUnreachableError, RemoteLog
from trust.tilepath import PathMalformedError, TilePath

KEY = SIGNER.verifier.to_text()


class Server(ThreadingHTTPServer):
    """Answers for a ledger in memory; `refuse` times it says that it is busy."""

    def __init__(self, held: MemoryLedger) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.held = held
        self.refuse = 0
        self.answers: dict[str, bytes] = {}
        self.asked: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def find(self, name: str) -> bytes | None:
        if name in self.answers:
            return self.answers[name]
        if name == "key":
            return json.dumps({"origin": ORIGIN, "keys": [KEY]}).encode()
        if name == "checkpoint":
            return self.held.notes[-1] if self.held.notes else None
        try:
            path = TilePath.parse(name)
        except PathMalformedError:
            return None
        hashes = self.held.tiles.get((path.level or 0, path.index), b"")[: path.width * 32]
        return hashes or None


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        name = self.path.removeprefix("/api/ledger/")
        self.server.asked.append(name)
        found = self.server.find(name)
        status = 429 if self.server.refuse else 404 if found is None else 200
        self.server.refuse = max(0, self.server.refuse - 1)
        self.send_response(status)
        self.send_header("retry-after", "0")
        self.send_header("content-length", str(len(found or b"")))
        self.end_headers()
        self.wfile.write(found or b"")

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@contextmanager
def serving(held: MemoryLedger) -> Iterator[Server]:
    with Server(held) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def run(url: str, *options: str) -> tuple[int, str]:
    command = [sys.executable, "-m", "mesh.cli", "audit-ledger", "--url", url, *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("size", [1, 255, 256, 257, 1000, 65_537])
def test_a_whole_log_is_clean(size: int) -> None:
    with serving(ledger(size)) as server:
        status, said = run(server.url, "--key", KEY)
    assert status == 0, said
    assert f"{size} entries, 0 rows" in said


def test_the_next_audit_reads_what_is_new(tmp_path: Path) -> None:
    held, since = ledger(2000), tmp_path / "kept"
    with serving(held) as server:
        server.refuse = 3
        assert run(server.url, "--key", KEY, "--since", str(since))[0] == 0
        assert Checkpoint.parse(since.read_text()).size == 2000
        held.grow([event(number) for number in range(2000, 2100)])
        held.sign()
        server.asked.clear()
        status, said = run(server.url, "--since", str(since))
    assert status == 0, said
    assert "No --key" in said
    assert Checkpoint.parse(since.read_text()).size == 2100
    assert "tile/0/000" not in server.asked


def test_a_fork_is_found_by_what_was_kept(tmp_path: Path) -> None:
    since, other = tmp_path / "kept", MemoryLedger()
    with serving(ledger(600)) as server:
        assert run(server.url, "--key", KEY, "--since", str(since))[0] == 0
    before = since.read_text()
    other.grow([event(number + (number == 300)) for number in range(700)])
    other.sign()
    with serving(other) as server:
        assert run(server.url, "--key", KEY)[0] == 0
        status, said = run(server.url, "--key", KEY, "--since", str(since))
    assert (status, since.read_text()) == (1, before)
    assert "FORKED 600: " in said


def test_a_log_that_was_cut_is_found(tmp_path: Path) -> None:
    since = tmp_path / "kept"
    with serving(ledger(600)) as server:
        assert run(server.url, "--key", KEY, "--since", str(since))[0] == 0
    with serving(ledger(500)) as server:
        status, said = run(server.url, "--key", KEY, "--since", str(since))
    assert status == 1
    assert "CHECKPOINT_AHEAD 600: there are only 500 entries" in said


def test_a_wrong_tile_and_a_missing_one_are_named() -> None:
    held = ledger(1000)
    held.flip(0, 1, 7)
    with serving(held) as server:
        status, said = run(server.url, "--key", KEY)
    assert status == 1
    assert "TILE_WRONG level 0 tile 1: " in said
    del held.tiles[0, 2]
    with serving(held) as server:
        status, said = run(server.url, "--key", KEY)
    assert status == 1
    assert "TILE_WRONG level 0 tile 2: " in said


def test_another_key_is_not_believed() -> None:
    wrong = f"{ORIGIN}+{'0' * 8}+{KEY.rpartition('+')[2]}"
    held = ledger(10)
    held.notes[-1] = held.notes[-1].replace(b" ", b"  ", 1)
    with serving(held) as server:
        assert run(server.url, "--key", wrong)[0] == 2
        assert run(server.url, "--key", KEY)[0] == 1


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("key", b"[]"),
        ("key", b'{"keys": [1]}'),
        ("key", b'{"keys": ["x"]}'),
        ("key", b"["),
        ("checkpoint", b"nothing"),
        ("checkpoint", b"\xff\n1\nx\n\n"),
        ("tile/0/000.p/10", b"x" * 8193),
    ],
    ids=range(7),
)
def test_what_is_no_log_cannot_be_audited(name: str, body: bytes) -> None:
    with serving(ledger(10)) as server:
        server.answers[name] = body
        status, said = run(server.url)
    assert status == 2, said
    assert "Traceback" not in said


def test_what_cannot_be_asked_cannot_be_audited(tmp_path: Path) -> None:
    with serving(ledger(10)) as server:
        url = server.url
        (tmp_path / "kept").write_text("nonsense")
        assert run(url, "--since", str(tmp_path / "kept"))[0] == 2
        (tmp_path / "kept").write_text(Checkpoint("another/log", 1, bytes(32)).text())
        assert run(url, "--since", str(tmp_path / "kept"))[0] == 2
        assert run(url, "--since", str(tmp_path / "no" / "folder"))[0] == 2
    assert run(url)[0] == 2
    assert run("ftp://127.0.0.1")[0] == 2
    assert run("nowhere")[0] == 2


def test_an_empty_log_is_clean() -> None:
    with serving(MemoryLedger()) as server:
        status, said = run(server.url)
    assert status == 0, said


async def test_a_busy_log_is_given_up_in_the_end() -> None:
    with serving(ledger(10)) as server:
        server.refuse = 1000
        with pytest.raises(LogUnreachableError, match="429"):
            await RemoteLog(server.url + "/api/ledger").size()
