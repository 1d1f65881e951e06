"""PostgreSQL that is slow, does not answer, or has no room left: a clear status, little memory, and on it goes."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2
from voketag.factory.v1 import factory_pb2

from mesh.cli.importer import Importer
from mesh.interceptors.errors import STATUS_KEY
from tests.fakes.final_anchor import FinalAnchor
from tests.fakes.wire import Wire
from tests.integration.factory.test_slow_clients import MANY, MIB, resident, taken
from tests.integration.factory.world import (
    Customer,
    Door,
    Ground,
    Import,
    eventually,
    metadata_of,
    reason_of,
    rows,
    serving,
    verify_batch,
    working,
)
from tests.servers import free_port

pytestmark = pytest.mark.asyncio(loop_scope="module")

COMPLETED = factory_pb2.BATCH_STATE_COMPLETED
PROCESSING = factory_pb2.BATCH_STATE_PROCESSING
FULL = """
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE 'could not extend file: No space left on device' USING ERRCODE = 'disk_full'; END $$;
CREATE TRIGGER full_disk BEFORE INSERT ON products FOR EACH ROW EXECUTE FUNCTION refuse()
"""
ROOM = "DROP TRIGGER full_disk ON products; DROP FUNCTION refuse"


def retry_seconds(error: grpc.aio.AioRpcError) -> float:
    """Of the one RetryInfo."""
    trailing = dict(error.trailing_metadata() or ())
    info = error_details_pb2.RetryInfo()
    status = status_pb2.Status.FromString(trailing["grpc-status-details-bin"])
    assert sum(detail.Unpack(info) for detail in status.details if detail.Is(info.DESCRIPTOR)) == 1
    return float(info.retry_delay.ToTimedelta().total_seconds())


@asynccontextmanager
async def locked(ground: Ground, batch_id: str) -> AsyncIterator[None]:
    """Another session holds the batch's row."""
    async with ground.owner() as owner, owner.transaction():
        await owner.execute("SELECT FROM batches WHERE batch_id = $1 FOR UPDATE", batch_id)
        yield


async def refused(stream: Import, first_row: int) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await stream.chunk(first_row, rows(1000, first_row))
    return error.value


async def finished(ground: Ground, customer: Customer, request_id: str, first_row: int) -> None:
    """The import goes on behind the rows that were acknowledged."""
    stream = await Import(customer, request_id).open()
    assert stream.next_row == first_row
    await stream.chunk(first_row, rows(1000, first_row))
    batch = await stream.end(first_row + 1000)
    verify_batch(ground, batch, await customer.products(batch.batch_id))


async def test_lock_held_elsewhere_ends_a_statement_and_holds_up_nobody_else(ground: Ground) -> None:
    async with ground.server(database_seconds=1.0) as door, door.customer() as customer, door.customer() as other:
        stream = await Import(customer).open()
        await stream.chunk(0, rows(1000))
        async with locked(ground, stream.batch_id):
            waiting = asyncio.create_task(refused(stream, 1000))
            assert (await other.order(3)).batch.product_count == 3
            error = await waiting
            assert (error.code(), reason_of(error)) == (grpc.StatusCode.UNAVAILABLE, "DEPENDENCY_UNAVAILABLE")
            assert metadata_of(error) == {"dependency": "PostgreSQL"}
            assert retry_seconds(error) == 1
        await finished(ground, customer, stream.request_id, 1000)


async def test_deadline_is_answered_while_a_lock_is_held(ground: Ground, customer: Customer) -> None:
    stream = await Import(customer).open()
    await stream.chunk(0, rows(1000))
    request = factory_pb2.CancelBatchRequest(request_id=stream.request_id, batch_id=stream.batch_id)

    async def answered() -> bool:
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await customer.stub.CancelBatch(request, timeout=0.5)
        assert error.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        # On a busy machine the client's own clock may be the first to say so.
        return (
            STATUS_KEY in dict(error.value.trailing_metadata() or ()) and reason_of(error.value) == "DEADLINE_EXCEEDED"
        )

    async with locked(ground, stream.batch_id):
        assert await eventually(answered)
    await finished(ground, customer, stream.request_id, 1000)


async def test_server_takes_no_more_rows_than_it_can_commit(ground: Ground) -> None:
    port = free_port()
    async with serving(ground, port) as child, Door(ground, f"127.0.0.1:{port}").customer() as customer:
        stream = await Import(customer).open()
        await stream.chunk(0, rows(1000))
        before = resident(child)
        async with locked(ground, stream.batch_id):
            count, writing = await taken(stream, MANY, first_row=1000)
            assert resident(child) - before < 32 * MIB
        for first_row in range(1000, count, 1000):
            assert (await stream.read()).ack.first_row == first_row
        await writing
        assert (await stream.end(count)).issued_count == count


async def test_distant_database_is_slow_and_nothing_else(ground: Ground) -> None:
    async with Wire(ground.database.server.port) as wire:
        async with through(ground, wire).server() as door, door.customer() as customer:
            wire.delay = 0.02
            await finished(ground, customer, (await Import(customer).open()).request_id, 0)


async def test_database_that_stops_answering_is_unavailable_until_it_goes_on(ground: Ground) -> None:
    async with Wire(ground.database.server.port) as wire:
        async with through(ground, wire).server(database_seconds=1.0) as door, door.customer() as customer:
            stream = await Import(customer).open()
            await stream.chunk(0, rows(1000))
            wire.stop()
            error = await refused(stream, 1000)
            assert (error.code(), reason_of(error)) == (grpc.StatusCode.UNAVAILABLE, "DEPENDENCY_UNAVAILABLE")
            wire.go_on()

            async def back() -> bool:
                with suppress(grpc.aio.AioRpcError):
                    return bool(await customer.batch(stream.batch_id))
                return False

            await eventually(back)
            await finished(ground, customer, stream.request_id, 1000)


def through(ground: Ground, wire: Wire) -> Ground:
    """The same ground, its PostgreSQL behind the wire."""
    database = ground.database
    return replace(ground, database=replace(database, server=replace(database.server, port=wire.port)))


async def test_full_disk_loses_nothing_and_imports_go_on_once_there_is_room(
    ground: Ground, customer: Customer, anchor: FinalAnchor
) -> None:
    stream = await Import(customer).open()
    tokens = list((await stream.chunk(0, rows(1000))).tokens)
    async with ground.owner() as owner, working(ground, anchor):
        await owner.execute(FULL)
        error = await refused(stream, 1000)
        assert (error.code(), reason_of(error)) == (grpc.StatusCode.UNAVAILABLE, "DEPENDENCY_UNAVAILABLE")
        assert retry_seconds(error) == 1
        order = (await customer.order(10)).batch.batch_id
        assert (await customer.reached(order, PROCESSING)).issued_count == 0
        # A client that follows docs/clients.md needs nobody to tell it that there is room again.
        header = factory_pb2.ImportHeader(request_id=stream.request_id, name="import")
        acknowledged: list[factory_pb2.ImportAck] = []
        importer = Importer(customer.plain, customer.key, header)
        importing = asyncio.create_task(
            importer.run(lambda first: iter(rows(5000 - first, first)), acknowledged.append)
        )
        assert not (await asyncio.wait({importing}, timeout=1))[0]
        await owner.execute(ROOM)
        batch = await importing
        assert [ack.first_row for ack in acknowledged] == [1000, 2000, 3000, 4000]
        products = await customer.products(batch.batch_id)
        assert [product.token for product in products[:1000]] == tokens
        verify_batch(ground, await customer.reached(batch.batch_id, COMPLETED), products)
        assert (await customer.reached(order, COMPLETED)).issued_count == 10
