"""The classical scan service of a folder outside the repository, built with the Go there is and run beside ours.

The folder holds main.go and says in its README.md what it is: HTTP on 8080, Redis without a password on 6390, the
connection string of PostgreSQL as its argument, the secret of its tokens in its source.
"""

import asyncio
import base64
import hashlib
import hmac
import os
import re
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from uuid import UUID, uuid4

from bench.scanners import Ground
from mesh.local.ports import LOOPBACK, require_free
from mesh.local.process import Child
from mesh.local.valkey import valkey_binary
from tests.integration.scan.world import connected
from tests.servers import PASSWORD

HTTP, REDIS = 8080, 6390
PRODUCTS = 20_000
SECRET = re.compile(r'secret = \[\]byte\("([^"]+)"\)')
SCHEMA = """
CREATE TABLE products (
  id uuid PRIMARY KEY, batch_id uuid NOT NULL, token varchar(255) NOT NULL UNIQUE,
  created_at timestamptz NOT NULL DEFAULT now());
CREATE TABLE scan_events (
  id uuid PRIMARY KEY, product_id uuid NOT NULL REFERENCES products, ip_hash text NOT NULL,
  fingerprint_hash text NOT NULL, risk_score integer NOT NULL, country text NOT NULL, created_at timestamptz NOT NULL);
CREATE INDEX ON scan_events (product_id);
CREATE INDEX ON scan_events (created_at);
"""


class NoPeerError(Exception):
    """It cannot be built here; the message says why."""


def toolchain() -> str:
    """The `go` on PATH, or Debian's newest. Raises NoPeerError."""
    places = sorted(Path("/usr/lib").glob("go-*/bin/go"))
    if found := shutil.which("go") or (str(places[-1]) if places else None):
        return found
    raise NoPeerError("no Go toolchain is installed")


def build(source: Path, binary: Path) -> None:
    """With the libraries of Debian's packages, as the README says. Raises NoPeerError."""
    places = {
        "GOPATH": "/usr/share/gocode",
        "GO111MODULE": "off",
        "GOCACHE": str(binary.parent / "go"),
    }
    command: list[str | Path] = [toolchain(), "build", "-o", binary, source / "main.go"]
    done = subprocess.run(command, env=os.environ | places, capture_output=True, text=True, check=False)
    if done.returncode:
        raise NoPeerError(f"{source} does not build: {done.stderr[:400]}")


def tokens_of(secret: bytes, products: Iterable[UUID]) -> list[str]:
    """base64url of the id and its HMAC-SHA256."""
    return [
        base64.urlsafe_b64encode(each.bytes + hmac.digest(secret, each.bytes, hashlib.sha256)).rstrip(b"=").decode()
        for each in products
    ]


async def fill(dsn: str, products: Sequence[UUID], tokens: Sequence[str]) -> None:
    async with connected(dsn) as owner:
        await owner.execute(SCHEMA)
        rows, batch_id = zip(products, tokens, strict=True), uuid4()
        await owner.copy_records_to_table(
            "products", records=[(p, batch_id, text) for p, text in rows], columns=("id", "batch_id", "token")
        )


async def listening(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection(LOOPBACK, port)
    except OSError:
        return False
    writer.close()
    await writer.wait_closed()
    return True


@asynccontextmanager
async def peer(source: Path, on: Ground) -> AsyncIterator[tuple[str, dict[str, int]]]:
    """Where its tokens are, and its process ids. Raises NoPeerError, PortTakenError."""
    binary = on.folder / "peer"
    build(source, binary)
    secret = SECRET.search((source / "main.go").read_text())
    if secret is None:
        raise NoPeerError(f"{source} has no secret in its source")
    products = [uuid4() for _ in range(PRODUCTS)]
    tokens = tokens_of(secret[1].encode(), products)
    name = f"peer_{uuid4().hex}"
    async with connected(on.postgres.dsn()) as server:
        await server.execute(f"CREATE DATABASE {name}")
    await fill(on.postgres.dsn(database=name), products, tokens)
    dsn = f"host={LOOPBACK} port={on.postgres.port} user=voketag password='{PASSWORD}' dbname={name} sslmode=disable"
    redis: list[str | Path] = [
        valkey_binary(),
        "--port",
        str(REDIS),
        "--bind",
        LOOPBACK,
        "--save",
        "",
        "--dir",
        str(on.folder),
    ]
    service: list[str | Path] = [binary, dsn]
    async with AsyncExitStack() as stack:
        pids: dict[str, int] = {}
        for which, command, port in (("Valkey", redis, REDIS), ("service", service, HTTP)):
            child = Child(f"peer's {which}", command, log=on.folder / f"peer-{which}.log", env=os.environ)
            require_free(port)
            stack.push_async_callback(child.stop)
            await child.start()
            await child.wait_ready(partial(listening, port), within=15)
            pids[which] = child.pid or 0
        yield on.written("peer.tokens", tokens), pids
