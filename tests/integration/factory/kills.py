"""kill -9 by a seeded schedule: which process dies when, the servers that die, and clients that live through it."""

import asyncio
import json
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar
from uuid import uuid4

import grpc
from voketag.factory.v1 import factory_pb2, table_pb2, table_pb2_grpc

from mesh.cli.importer import Importer, broken_off
from mesh.local.postgres import PostgresServer
from mesh.local.process import Child
from mesh.local.valkey import ValkeyServer
from mesh.tasks import end
from tests.crashes import crash
from tests.fakes.final_anchor import FinalAnchor
from tests.integration.factory.world import Customer, Door, Ground, eventually, rows
from tests.servers import free_port

T = TypeVar("T")
VICTIMS = ("server", "worker", "PostgreSQL", "Valkey")
MORE = 3
LATE = 1.25
CALL_SECONDS = 10
AGAIN_SECONDS = 0.05


@dataclass(frozen=True)
class Strike:
    """The kill of a victim, `after` seconds after so much of the work was done: 1 is all that clients see of it."""

    victim: str
    share: float
    after: float


def schedule(seed: int) -> list[Strike]:
    """Each victim once and some of them again, in order; some when there is no more to do but build and submit."""
    seeded = random.Random(seed)
    strikes: list[Strike] = []
    for victim in (*VICTIMS, *seeded.choices(VICTIMS, k=MORE)):
        share = seeded.uniform(0, LATE)
        strikes.append(Strike(victim, min(share, 1), seeded.uniform(0, 0.05 if share < 1 else 1)))
    return sorted(strikes, key=lambda strike: strike.share)


async def persistently(call: Callable[[], Awaitable[T]]) -> T:
    """The answer of a call that may be repeated, whatever breaks: as docs/clients.md says a client does."""
    while True:
        try:
            return await call()
        except grpc.aio.AioRpcError as error:
            if not broken_off(error) and error.code() is not grpc.StatusCode.DEADLINE_EXCEEDED:
                raise
        await asyncio.sleep(AGAIN_SECONDS)


@dataclass
class Stand:
    """A server and a worker that are started again whenever they die, and PostgreSQL and Valkey of their own."""

    ground: Ground
    postgres: PostgresServer
    valkey: ValkeyServer
    anchor: FinalAnchor
    port: int = field(default_factory=free_port)

    @property
    def door(self) -> Door:
        return Door(self.ground, f"127.0.0.1:{self.port}")

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Server and worker run, and die for good in the end; what a round before could not start again is started."""
        for lasting in (self.postgres, self.valkey):
            if not lasting.running:
                await lasting.start()
        self._processes = {
            "server": self.ground.process("serve", LISTEN_HOST="127.0.0.1", LISTEN_PORT=self.port),
            "worker": self.ground.process("work", ANCHOR_TARGET=self.anchor.target, LEASE_SECONDS=1.0),
        }
        keeping = [asyncio.create_task(_kept_alive(child)) for child in self._processes.values()]
        try:
            yield
        finally:
            await end(*keeping)
            for child in self._processes.values():
                await child.kill()

    async def strike(self, victim: str) -> None:
        """Kills, and starts again what nobody else does."""
        match victim:
            case "PostgreSQL":
                await crash(self.postgres)
                await self.postgres.start()
            case "Valkey":
                await crash(self.valkey)
                await self.valkey.start()
            case _:
                await self._processes[victim].kill()


async def _kept_alive(child: Child) -> None:
    while True:
        await child.start()
        await child.wait()


class Clients:
    """One imports, one orders twice as much, and both watch their batches; all go on after every break."""

    def __init__(self, customer: Customer, row_count: int) -> None:
        self.customer = customer
        self.tokens: list[str] = []
        self.header = factory_pb2.ImportHeader(request_id=str(uuid4()), name="import", template={"brand": "Voke"})
        self.order = factory_pb2.CreateBatchRequest(
            request_id=str(uuid4()), name="order", product_count=2 * row_count, template={"brand": "Voke"}
        )
        self._row_count = row_count
        self._issued = {self.header.name: 0, self.order.name: 0}

    def share(self, victim: str) -> float:
        """How much of the work was done that a victim is killed at."""
        if victim == "worker":
            return self._issued[self.order.name] / self.order.product_count
        return len(self.tokens) / self._row_count

    async def run(self) -> list[factory_pb2.Batch]:
        """The imported batch and the ordered one, as their watchers saw them end."""
        ordered = (await self.create()).batch
        async with asyncio.TaskGroup() as group:
            importing = group.create_task(self._import())
            watching = group.create_task(self._watch(ordered.batch_id))
            watching_import = group.create_task(self._watch_import())
        assert importing.result().batch_id == watching_import.result().batch_id
        return [watching_import.result(), watching.result()]

    async def create(self) -> factory_pb2.CreateBatchResponse:
        return await persistently(lambda: self.customer.stub.CreateBatch(self.order, timeout=CALL_SECONDS))

    async def _import(self) -> factory_pb2.Batch:
        importer = Importer(self.customer.plain, self.customer.key, self.header)
        return await importer.run(lambda first: iter(rows(self._row_count - first, first)), self._acknowledged)

    def _acknowledged(self, ack: factory_pb2.ImportAck) -> None:
        assert ack.first_row == ack.first_index == len(self.tokens), "acknowledged in order, and none twice"
        assert not ack.errors
        self.tokens.extend(ack.tokens)
        assert ack.committed_rows == len(self.tokens)

    async def _watch_import(self) -> factory_pb2.Batch:
        async def opened() -> str:
            page = await self.customer.stub.ListBatches(factory_pb2.ListBatchesRequest(), timeout=CALL_SECONDS)
            return next((batch.batch_id for batch in page.batches if batch.name == self.header.name), "")

        return await self._watch(await eventually(lambda: persistently(opened)))

    async def _watch(self, batch_id: str) -> factory_pb2.Batch:
        """What a batch came to; what it had issued at any time it has for good."""

        async def watch() -> factory_pb2.Batch:
            batch = factory_pb2.Batch()
            async for update in self.customer.stub.WatchBatch(factory_pb2.WatchBatchRequest(batch_id=batch_id)):
                batch = update.batch
                assert batch.issued_count >= self._issued[batch.name]
                self._issued[batch.name] = batch.issued_count
            return batch

        return await persistently(watch)

    async def exported(self, batch_id: str) -> AsyncIterator[dict[str, Any]]:
        """The products of a batch, as its factory gets them."""
        async with grpc.aio.insecure_channel(self.customer.door.target) as channel:
            stub: Any = table_pb2_grpc.TableServiceStub(channel)
            request = table_pb2.ExportProductsRequest(batch_id=batch_id, format=table_pb2.EXPORT_FORMAT_JSON_LINES)
            line = b""
            async for piece in stub.ExportProducts(request, metadata=(("x-api-key", self.customer.key),)):
                *whole, line = (line + piece.data).split(b"\n")
                for product in whole:
                    yield json.loads(product)
            assert not line
