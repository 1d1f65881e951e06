"""What a scan service stands on, with products in it: databases, batches, tokens, callers."""

import asyncio
import json
import os
import random
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID, uuid4

import asyncpg
import grpc
from voketag.scan.v1 import scan_pb2_grpc

from mesh.clock import new_id
from mesh.local.process import Child
from mesh.migrate import ensure_roles, migrate
from tests.fakes.keys import SERVICE_KEY, signer
from tests.servers import PASSWORD, free_port
from trust import canonical, merkle
from trust.keyring import Keyring
from trust.tiles import TileBuilder
from trust.token import Token, encode

ROOT = Path(__file__).parents[3]
KEYRING = json.dumps(
    {
        "keys": [
            {"kid": 1, "key": "A" * 43 + "=", "state": "signing"},
            {"kid": 2, "key": "B" * 43 + "=", "state": "verifying"},
            {"kid": 3, "key": "C" * 43 + "=", "state": "revoked"},
        ]
    }
)
FACTORY = "Fábrica & Filhos <b>Ltda</b>"
ATTRIBUTES = {"gtin": "07613269795179", "market": "BR", "name": "MD Baguette Jambon"}
STEPS = {
    "RECEIVING": ("RECEIVING",),
    "PENDING": ("PENDING",),
    "CANCELLED": ("PENDING", "CANCELLED"),
    "FAILED": ("PENDING", "FAILED"),
    "ANCHORING": ("PENDING", "PROCESSING", "ANCHORING"),
    "COMPLETED": ("PENDING", "PROCESSING", "ANCHORING", "COMPLETED"),
}
BUILT = ("ANCHORING", "COMPLETED")
HASTY = {"VOKETAG_COUNTERS_SECONDS": "0.25"}
"""As it is by default: a test that takes no server away waits longer, for a busy machine is no fault."""


def token_of(product_id: UUID, kid: int = 1) -> str:
    mac, _ = Keyring.from_json(KEYRING).macs[kid]
    return encode(Token(kid, product_id.bytes, mac.tag(bytes((kid,)) + product_id.bytes)))


def anywhere() -> tuple[tuple[str, str], ...]:
    """Metadata of a caller whose address prefix nobody else has."""
    address = f"fd{random.randrange(256):02x}:{random.randrange(1 << 16):x}:{random.randrange(1 << 16):x}::1"
    return (("x-client-address", address),)


@dataclass(frozen=True)
class Batch:
    batch_id: UUID
    product_ids: Sequence[UUID]
    kid: int
    root: bytes | None

    @property
    def tokens(self) -> list[str]:
        return [token_of(product_id, self.kid) for product_id in self.product_ids]


@asynccontextmanager
async def connected(dsn: str) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    connection = await asyncpg.connect(dsn)
    try:
        yield connection
    finally:
        await connection.close()


class Database:
    """A database with the factory's and scan's schemas, and a factory in it."""

    def __init__(self, owner_dsn: str) -> None:
        self._server = owner_dsn
        self.name = f"scan_{uuid4().hex}"
        self.factory_id = new_id()

    @property
    def owner_dsn(self) -> str:
        return f"{self._server.rpartition('/')[0]}/{self.name}"

    @property
    def scan_dsn(self) -> str:
        return f"postgresql://voketag_scan@{self.owner_dsn.rpartition('@')[2]}"

    async def create(self) -> None:
        async with connected(self._server) as server:
            await ensure_roles(server, {"scan": PASSWORD})
            await server.execute(f"CREATE DATABASE {self.name}")
        async with connected(self.owner_dsn) as owner:
            for schema in ("factory", "scan"):
                await migrate(owner, schema=schema, folder=ROOT / schema / "migrations")
            factory = (self.factory_id, FACTORY)
            await owner.execute("INSERT INTO factory.factories (factory_id, name) VALUES ($1, $2)", *factory)

    async def drop(self) -> None:
        async with connected(self._server) as server:
            await server.execute(f"DROP DATABASE {self.name} WITH (FORCE)")

    async def batch(
        self, size: int = 1, *, state: str = "PENDING", kid: int = 1, attributes: Mapping[str, str] = ATTRIBUTES
    ) -> Batch:
        """Products as the factory leaves them, with their tree once the batch has come that far."""
        batch_id, product_ids = new_id(), [new_id() for _ in range(size)]
        template = canonical.attributes_bytes(attributes)
        digest = canonical.attributes_digest(template)
        builder = TileBuilder()
        leaves = [
            merkle.leaf_hash(canonical.product_leaf(batch_id.bytes, index, product_id.bytes, digest))
            for index, product_id in enumerate(product_ids)
        ]
        tiles = builder.add(b"".join(leaves))
        edge = builder.finish()
        built = state in BUILT
        async with connected(self.owner_dsn) as owner, owner.transaction():
            first, *later = STEPS[state]
            await owner.execute(
                """INSERT INTO factory.batches
                   (factory_id, batch_id, name, state, template, kid, product_count, issued_count)
                   VALUES ($1, $2, 'batch', $3, $4, $5, $6, $6)""",
                self.factory_id, batch_id, first, template, kid, size,
            )  # fmt: skip
            await owner.copy_records_to_table(
                "products",
                schema_name="factory",
                records=[(p, batch_id, index, kid, 0, None) for index, p in enumerate(product_ids)],
            )
            if built:
                await owner.executemany(
                    "INSERT INTO factory.tiles VALUES ($1, $2, $3, $4)",
                    [(batch_id, t.level, t.index, t.hashes) for t in (*tiles, *edge.tiles)],
                )
            for step in later:
                await self._step(owner, batch_id, step, edge.root if built else None)
        return Batch(batch_id, product_ids, kid, edge.root if built else None)

    async def move(self, batch: Batch, state: str) -> None:
        async with connected(self.owner_dsn) as owner:
            await self._step(owner, batch.batch_id, state, batch.root)

    async def _step(
        self, owner: "asyncpg.Connection[asyncpg.Record]", batch: UUID, state: str, root: bytes | None
    ) -> None:
        await owner.execute(
            """UPDATE factory.batches SET state = $2, root = coalesce($3, root),
               chain_id = CASE WHEN $2 = 'COMPLETED' THEN 31337 END WHERE batch_id = $1""",
            batch, state, root,
        )  # fmt: skip


class Service:
    """`python -m scan` in a process of its own."""

    def __init__(self, folder: Path, database: Database, valkey_url: str, anchor_target: str, **settings: str) -> None:
        self.port = free_port()
        self.metrics_port = free_port()
        self.log = folder / f"scan-{self.port}.log"
        user, _, rest = valkey_url.rpartition("@")
        del user
        self.environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": f"{ROOT}:{ROOT / 'gen'}",
            "VOKETAG_LISTEN_HOST": "127.0.0.1",
            "VOKETAG_LISTEN_PORT": str(self.port),
            "VOKETAG_METRICS_HOST": "127.0.0.1",
            "VOKETAG_METRICS_PORT": str(self.metrics_port),
            "VOKETAG_DATABASE_URL": database.scan_dsn,
            "VOKETAG_DATABASE_PASSWORD": PASSWORD,
            "VOKETAG_VALKEY_URL": f"redis://{rest}",
            "VOKETAG_VALKEY_PASSWORD": PASSWORD,
            "VOKETAG_KEYRING": KEYRING,
            "VOKETAG_PAGE_KEY": "tests" * 8,
            "VOKETAG_ANCHOR_TARGET": anchor_target,
            "VOKETAG_SERVICE_KEY": SERVICE_KEY,
            "VOKETAG_FACTORY_TARGET": anchor_target,
            "VOKETAG_LEDGER_KEY": signer("voketag.com/scans").to_text(),
            "VOKETAG_LEDGER_CHECKPOINT_SECONDS": "0.1",
            "VOKETAG_CODE_PER_SECOND": "100000",
            "VOKETAG_PLACES": "edge",
            "VOKETAG_COUNTERS_SECONDS": "5",
            "VOKETAG_COOKIE_SECURE": "0",
            "VOKETAG_DRAIN_SECONDS": "0",
            "VOKETAG_GRACE_SECONDS": "1",
            **settings,
        }
        self.child = Child("scan", [sys.executable, "-m", "scan"], log=self.log, env=self.environment)

    @property
    def target(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def start(self) -> None:
        await self.child.start()
        await self.child.wait_ready(self._ready, within=30)

    async def stop(self) -> None:
        await self.child.stop()

    async def _ready(self) -> bool:
        async with grpc.aio.insecure_channel(self.target) as channel:
            try:
                async with asyncio.timeout(0.5):
                    await channel.channel_ready()
            except TimeoutError:
                return False
        return True


def stub_of(channel: grpc.aio.Channel) -> "scan_pb2_grpc.ScanServiceAsyncStub":
    return scan_pb2_grpc.ScanServiceStub(channel)
