"""Clients that read slowly, not at all, or are gone without a word: what a server holds for them is bounded."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest
from voketag.factory.v1 import factory_pb2, table_pb2, table_pb2_grpc

from mesh.local.process import Child
from tests.fakes.wire import Wire
from tests.integration.factory.world import Customer, Door, Ground, Import, eventually, rows, serving, verify_batch
from tests.servers import free_port

pytestmark = pytest.mark.asyncio(loop_scope="module")

MIB = 1024 * 1024
MANY = 400_000
OWN_CONNECTION = [("grpc.use_local_subchannel_pool", 1)]
SILENT_SECONDS = 1.0
"""A write that takes longer waits for room that does not come."""


def resident(child: Child) -> int:
    """VmRSS in bytes, proc(5)."""
    status = Path(f"/proc/{child.pid}/status").read_text()
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmRSS:"))


class Reader:
    """A client who asks for a batch as a file, and reads no more than the first piece of it."""

    def __init__(self, customer: Customer, batch_id: str) -> None:
        self.channel = grpc.aio.insecure_channel(customer.door.target, options=OWN_CONNECTION)
        stub: Any = table_pb2_grpc.TableServiceStub(self.channel)
        request = table_pb2.ExportProductsRequest(batch_id=batch_id, format=table_pb2.EXPORT_FORMAT_JSON_LINES)
        self.call = stub.ExportProducts(request, metadata=(("x-api-key", customer.key),))


async def imported(customer: Customer, count: int) -> factory_pb2.Batch:
    stream = await Import(customer).open()
    for first in range(0, count, 1000):
        await stream.chunk(first, rows(1000, first))
    return await stream.end(count)


async def taken(stream: Import, at_most: int, first_row: int = 0) -> tuple[int, "asyncio.Task[None]"]:
    """Rows written by a client who reads no answer until the server takes no more, and the write that waits then."""
    for first in range(first_row, at_most, 1000):
        chunk = factory_pb2.ImportChunk(first_row=first, rows=rows(1000, first))
        writing = asyncio.create_task(stream.send(chunk=chunk))
        if not (await asyncio.wait({writing}, timeout=SILENT_SECONDS))[0]:
            return first + 1000, writing
    raise AssertionError(f"the server takes {at_most} rows from a client who reads no answer")


async def test_clients_who_do_not_read_hold_little_of_a_server(ground: Ground) -> None:
    port = free_port()
    async with serving(ground, port) as child, Door(ground, f"127.0.0.1:{port}").customer() as customer:
        batch = await imported(customer, 100_000)
        async for _ in (whole := Reader(customer, batch.batch_id)).call:
            pass
        before = resident(child)
        readers = [whole, *[Reader(customer, batch.batch_id) for _ in range(4)]]
        for reader in readers[1:]:
            assert (await reader.call.read()).data
        streams = [await Import(customer).open() for _ in range(2)]
        (count, writing), _ = await asyncio.gather(*[taken(stream, MANY) for stream in streams])
        assert resident(child) - before < 32 * MIB
        async with customer.door.customer() as other:
            verify_batch(ground, await imported(other, 2000), await other.products(await newest(other)))
        # Whoever reads on after all gets every answer, in order.
        acknowledged = 0
        while acknowledged < count:
            ack = (await streams[0].read()).ack
            assert (ack.first_row, len(ack.tokens)) == (acknowledged, 1000)
            acknowledged = ack.committed_rows
        await writing
        assert (await streams[0].end(count)).issued_count == count
        assert resident(child) - before < 32 * MIB
        for reader in readers:
            await reader.channel.close()


async def test_half_open_connection_is_ended_and_its_import_taken_over(ground: Ground) -> None:
    async with ground.server(keepalive_seconds=1.0) as door, door.customer() as customer:
        assert door.server is not None
        async with Wire(door.server.port) as wire:
            async with replace(door, target=wire.target).returning(customer.factory_id, customer.key) as lost:
                first = await Import(lost).open()
                await first.chunk(0, rows(1000))
                watch = lost.stub.WatchBatch(factory_pb2.WatchBatchRequest(batch_id=first.batch_id))
                assert (await watch.read()).batch.issued_count == 1000
                await first.send(chunk=factory_pb2.ImportChunk(first_row=1000, rows=rows(1000, 1000)))
                assert calls_under_way() == 2
                wire.vanish()
                second = await Import(customer, first.request_id).open()
                assert calls_under_way() == 3, "the first connection was not ended yet, and did not have to be"
                assert (second.batch_id, second.next_row) in {(first.batch_id, 1000), (first.batch_id, 2000)}
                await second.chunk(1000, rows(1000, 1000))
                batch = await second.end(2000)
                verify_batch(ground, batch, await customer.products(batch.batch_id))
                await eventually(none_under_way)


def calls_under_way() -> int:
    """Of the server in this process."""
    return sum("_schedule_rpc_coro" in repr(task) for task in asyncio.all_tasks())


async def none_under_way() -> bool:
    return calls_under_way() == 0


async def newest(customer: Customer) -> str:
    page = await customer.stub.ListBatches(factory_pb2.ListBatchesRequest())
    return page.batches[0].batch_id
