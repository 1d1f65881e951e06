"""A scan service behind a real edge, and a code for each thing that the page can have to say."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import grpc
from voketag.anchor.v1 import anchor_pb2
from voketag.scan.v1 import scan_pb2

from mesh.clock import new_id
from mesh.edge.configuration import Address, EdgeSettings, render
from mesh.local.envoy import EnvoyServer
from mesh.local.ports import LOOPBACK
from mesh.local.postgres import PostgresServer
from mesh.local.valkey import ValkeyServer
from scan.factors import ProductState
from tests.fakes.anchor import FakeAnchor
from tests.integration.scan.calls import Stub
from tests.integration.scan.world import Batch, Database, Service, connected, stub_of, token_of
from tests.servers import free_port, start_postgres, start_valkey

ATTRIBUTES = {
    "name": "Café em grãos Serra do Caparaó, torra média, 250 g",
    "gtin": "07898357410015",
    "market": "BR",
    "roast_date": "2026-10-02",
}
CITIES = ("BR,-23.55,-46.63", "PT,38.72,-9.14", "JP,35.68,139.69")
ONE_PHONE = (("x-client-address", "203.0.113.7"), ("x-client-place", CITIES[0]))


@dataclass
class World:
    """The service, its servers, and the address of the edge."""

    postgres: PostgresServer
    valkey: ValkeyServer
    database: Database
    anchor: FakeAnchor
    stub: Stub
    edge: str

    def page(self, code: str) -> str:
        return f"{self.edge}/r/{code}"

    async def batch(self, state: str = "COMPLETED", kid: int = 1) -> Batch:
        """One product; anchored when its batch is completed."""
        batch = await self.database.batch(state=state, kid=kid, attributes=ATTRIBUTES)
        if state == "COMPLETED":
            assert batch.root is not None
            names = batch.batch_id.bytes, str(batch.batch_id)
            self.anchor.put(*names, batch.root, 1, state=anchor_pb2.ANCHOR_STATE_FINAL)
        return batch

    async def live(self, batch: Batch, state: ProductState) -> None:
        """The factory says what became of the product."""
        async with connected(self.database.owner_dsn) as owner:
            await owner.execute(
                "UPDATE factory.products SET state = $2 WHERE product_id = $1", batch.product_ids[0], state.value
            )

    async def scan(self, code: str, metadata: tuple[tuple[str, str], ...] = ONE_PHONE) -> scan_pb2.VerifyResponse:
        """A scan by somebody else."""
        return await self.stub.Verify(scan_pb2.VerifyRequest(token=code), metadata=metadata)

    async def count(self, code: str) -> int:
        """Scans so far."""
        return (await self.stub.LookupTag(scan_pb2.LookupTagRequest(token=code))).scan_count

    async def spread(self, code: str) -> None:
        """Eighteen phones scan the code by turns in three cities."""
        for number in range(18):
            address = ("x-client-address", f"198.51.{number}.7")
            await self.scan(code, (address, ("x-client-place", CITIES[number % len(CITIES)])))


Code: TypeAlias = Callable[[World], Awaitable[str]]


async def _fresh(world: World) -> str:
    return (await world.batch()).tokens[0]


async def _repeated(world: World) -> str:
    code = await _fresh(world)
    for _ in range(2):
        await world.scan(code)
    return code


async def _pending(world: World) -> str:
    return (await world.batch("PENDING")).tokens[0]


async def _suspicious(world: World) -> str:
    code = await _fresh(world)
    await world.spread(code)
    return code


async def _copied(world: World) -> str:
    batch = await world.batch()
    await world.live(batch, ProductState.CONSUMED)
    await world.spread(batch.tokens[0])
    return batch.tokens[0]


def _withdrawn(state: ProductState) -> Code:
    async def code(world: World) -> str:
        batch = await world.batch()
        await world.live(batch, state)
        return batch.tokens[0]

    return code


async def _cancelled(world: World) -> str:
    return (await world.batch("CANCELLED")).tokens[0]


async def _revoked(world: World) -> str:
    return (await world.batch(kid=3)).tokens[0]


async def _unknown(world: World) -> str:
    del world
    return token_of(new_id())


async def _malformed(world: World) -> str:
    del world
    return "not-a-code"


CODES: dict[str, tuple[str, Code]] = {
    "first": ("genuine", _fresh),
    "repeated": ("genuine", _repeated),
    "pending": ("genuine", _pending),
    "suspicious": ("suspicious", _suspicious),
    "likely_copy": ("likely_copy", _copied),
    "recalled": ("blocked", _withdrawn(ProductState.RECALLED)),
    "stolen": ("blocked", _withdrawn(ProductState.STOLEN)),
    "cancelled": ("blocked", _cancelled),
    "revoked": ("blocked", _revoked),
    "unknown": ("unknown", _unknown),
    "malformed": ("malformed", _malformed),
}
"""By what became of a code: the face that its page has, and how to come by one."""


@asynccontextmanager
async def opened(folder: Path) -> AsyncIterator[World]:
    """A world of one's own."""
    async with AsyncExitStack() as stack:
        postgres = await start_postgres(folder)
        stack.push_async_callback(postgres.stop)
        valkey = await start_valkey(folder)
        stack.push_async_callback(valkey.stop)
        database, anchor = Database(postgres.dsn()), FakeAnchor()  # type: ignore[abstract]
        await database.create()
        await anchor.start()
        stack.push_async_callback(anchor.stop)
        budgets = {"VOKETAG_SCAN_BURST": "1000000", "VOKETAG_CARD_FRESH_SECONDS": "0.05"}
        service = Service(folder, database, valkey.url, anchor.target, **budgets)
        await service.start()
        stack.push_async_callback(service.stop)
        channel = await stack.enter_async_context(grpc.aio.insecure_channel(service.target))
        public, internal, admin, nobody = (Address(LOOPBACK, free_port()) for _ in range(4))
        upstreams = {"scan": Address(LOOPBACK, service.port), "factory": nobody, "anchor": nobody, "admin": nobody}
        settings = EdgeSettings(
            public=public, internal=internal, admin=admin, upstreams=upstreams, health_seconds=0.25, trusted_hops=1
        )
        (folder / "envoy.yaml").write_text(render(settings))
        envoy = EnvoyServer(folder / "envoy.yaml", admin.port, log=folder / "envoy.log")
        await stack.enter_async_context(envoy)
        yield World(postgres, valkey, database, anchor, stub_of(channel), f"http://{LOOPBACK}:{public.port}")
