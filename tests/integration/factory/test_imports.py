"""ImportProducts through a real server: what is acknowledged is committed, and what is refused says why."""

import asyncio
from typing import Any
from uuid import uuid4

import grpc
import pytest
from voketag.factory.v1 import factory_pb2

from tests.integration.factory.world import (
    Customer,
    Ground,
    Import,
    eventually,
    metadata_of,
    reason_of,
    rows,
    verify_batch,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")

Row = factory_pb2.ImportRow


async def test_rows_become_products_with_tokens_in_order(ground: Ground, customer: Customer) -> None:
    stream = await Import(customer, template={"brand": "Voke"}).open()
    assert stream.next_row == 0
    tokens: list[str] = []
    for first, count in ((0, 700), (700, 300), (1000, 1), (1001, 999)):
        ack = await stream.chunk(first, rows(count, first))
        assert (ack.committed_rows, ack.first_row, ack.first_index) == (first + count, first, first)
        assert not ack.errors
        tokens.extend(ack.tokens)
    batch = await stream.end(2000)
    assert batch.state == factory_pb2.BATCH_STATE_PENDING
    assert (batch.product_count, batch.issued_count, batch.refused_count) == (2000, 2000, 0)
    products = await customer.products(stream.batch_id, page_size=333)
    assert [product.token for product in products] == tokens
    assert products[5].attributes == {
        "brand": "Voke",
        "sku": "SKU-5",
        "gtin": "4006381333931",
        "serial": "00000005",
        "name": 'Läufer "Größe 9"',
        "market": "BR",
        "expiry": "2030-01-31",
        "colour": "red",
    }
    verify_batch(ground, batch, products)


async def test_bad_rows_are_reported_and_the_others_go_on(ground: Ground, customer: Customer) -> None:
    stream = await Import(customer).open()
    ack = await stream.chunk(
        0,
        [
            Row(sku="good-0"),
            Row(gtin="4006381333932"),
            Row(sku="x" * 65),
            Row(market="XX"),
            Row(expiry="2026-02-30"),
            Row(sku="good-1", attributes={"Colour": "red"}),
            Row(sku="good-2", attributes={"gtin": "4006381333931"}),
            Row(name="bell \x07"),
            Row(name="e\u0301 decomposed"),
            Row(),
            Row(name="x" * 301),
            Row(attributes={"note": "x" * 4096}),
            Row(sku="good-3", attributes={"note": ""}),
        ],
    )
    reasons = {error.row: factory_pb2.RowErrorReason.Name(error.reason)[17:] for error in ack.errors}
    assert reasons == {
        1: "GTIN",
        2: "TOO_LONG",
        3: "MARKET",
        4: "DATE",
        5: "KEY",
        6: "KEY",
        7: "TEXT",
        8: "TEXT",
        9: "EMPTY",
        10: "TOO_LONG",
        11: "TOO_LONG",
    }
    assert [error.column for error in ack.errors][:5] == ["gtin", "sku", "market", "expiry", "Colour"]
    assert all(error.message for error in ack.errors)
    assert (ack.committed_rows, ack.first_index, len(ack.tokens)) == (13, 0, 2)
    ack = await stream.chunk(13, [Row(sku="good-4")])
    assert (ack.committed_rows, ack.first_index, len(ack.tokens)) == (14, 2, 1)
    batch = await stream.end(14)
    assert (batch.product_count, batch.refused_count) == (3, 11)
    products = await customer.products(stream.batch_id)
    assert [product.attributes["sku"] for product in products] == ["good-0", "good-3", "good-4"]
    verify_batch(ground, batch, products)


async def test_row_without_attributes_of_its_own_has_the_templates(ground: Ground, customer: Customer) -> None:
    stream = await Import(customer, template={"gtin": "4006381333931", "brand": "Voke"}).open()
    ack = await stream.chunk(0, [Row(), Row(attributes={"brand": "Other"})])
    assert len(ack.tokens) == 2
    batch = await stream.end(2)
    products = await customer.products(stream.batch_id)
    assert [product.attributes["brand"] for product in products] == ["Voke", "Other"]
    verify_batch(ground, batch, products)
    async with ground.owner() as owner:
        stored = await owner.fetch("SELECT attributes FROM products WHERE batch_id = $1 ORDER BY index", batch.batch_id)
    assert stored[0][0] is None


async def test_repeat_gets_the_same_tokens_and_anything_else_is_a_conflict(customer: Customer) -> None:
    stream = await Import(customer).open()
    bad = [Row(gtin="1"), *rows(9)]
    first = await stream.chunk(0, bad)
    second = await stream.chunk(10, rows(10, 10))
    assert await stream.chunk(0, bad) == first
    assert await stream.chunk(10, rows(10, 10)) == second
    for first_row, other in ((10, rows(10, 11)), (10, rows(9, 10)), (5, rows(5)), (0, rows(20))):
        conflicting = await Import(customer, stream.request_id).open()
        assert (conflicting.batch_id, conflicting.next_row) == (stream.batch_id, 20)
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await conflicting.chunk(first_row, other)
        assert error.value.code() is grpc.StatusCode.FAILED_PRECONDITION
        assert reason_of(error.value) == "SEQUENCE_CONFLICT"
        assert metadata_of(error.value)["next_row"] == "20"
    resumed = await Import(customer, stream.request_id).open()
    assert (await resumed.end(20)).product_count == 19


async def test_gap_is_refused_and_names_the_next_row(customer: Customer) -> None:
    stream = await Import(customer).open()
    await stream.chunk(0, rows(3))
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await stream.chunk(4, rows(1))
    assert reason_of(error.value) == "SEQUENCE_GAP"
    assert metadata_of(error.value) == {"next_row": "3", "first_row": "4"}


@pytest.mark.parametrize(("row_count", "reason"), [(4, "SEQUENCE_GAP"), (2, "SEQUENCE_CONFLICT")])
async def test_end_must_count_the_rows(customer: Customer, row_count: int, reason: str) -> None:
    stream = await Import(customer).open()
    await stream.chunk(0, rows(3))
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await stream.end(row_count)
    assert reason_of(error.value) == reason


@pytest.mark.parametrize("count", [0, 1001])
async def test_chunk_has_1_to_1000_rows(customer: Customer, count: int) -> None:
    stream = await Import(customer).open()
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await stream.chunk(0, rows(count))
    assert error.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert reason_of(error.value) == "CHUNK_SIZE"
    assert (await Import(customer, stream.request_id).open()).next_row == 0


@pytest.mark.parametrize("refused", [0, 2])
async def test_batch_without_a_product_is_not_ordered(customer: Customer, refused: int) -> None:
    stream = await Import(customer).open()
    if refused:
        await stream.chunk(0, [Row(gtin="1")] * refused)
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await stream.end(refused)
    assert reason_of(error.value) == "BATCH_EMPTY"
    assert (await customer.batch(stream.batch_id)).state == factory_pb2.BATCH_STATE_RECEIVING


async def test_frames_come_in_their_order(customer: Customer) -> None:
    for frame in ({"chunk": factory_pb2.ImportChunk(rows=rows(1))}, {"end": factory_pb2.ImportEnd()}):
        headless = Import(customer)
        await headless.send(**frame)
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await headless.read()
        assert reason_of(error.value) == "STREAM_HEADER_EXPECTED"
    empty = Import(customer)
    await empty.call.done_writing()
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await empty.read()
    assert reason_of(error.value) == "STREAM_HEADER_EXPECTED"
    twice = await Import(customer).open()
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await twice.open()
    assert reason_of(error.value) == "STREAM_HEADER_EXPECTED"


async def test_frame_without_content_or_with_a_bad_header_breaks_the_contract(customer: Customer) -> None:
    nothing = await Import(customer).open()
    await nothing.send()
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await nothing.read()
    assert reason_of(error.value) == "VALIDATION_FAILED"
    bad_templates: list[dict[str, Any]] = [
        {"template": template} for template in ({"gtin": "4006381333932"}, {"A": ""})
    ]
    header: dict[str, Any]
    for header in ({"name": ""}, {"name": "nul \x00"}, *bad_templates):
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await Import(customer, **header).open()
        assert reason_of(error.value) == "VALIDATION_FAILED", header


async def test_acknowledged_rows_stay_when_a_later_chunk_is_refused(ground: Ground, customer: Customer) -> None:
    stream = await Import(customer).open()
    await stream.send(chunk=factory_pb2.ImportChunk(first_row=0, rows=rows(1000)))
    await stream.send(chunk=factory_pb2.ImportChunk(first_row=1000, rows=rows(1000, 1000)))
    await stream.send(chunk=factory_pb2.ImportChunk(first_row=2000, rows=rows(1001, 2000)))
    assert [(await stream.read()).ack.committed_rows for _ in range(2)] == [1000, 2000]
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await stream.read()
    assert reason_of(error.value) == "CHUNK_SIZE"
    resumed = await Import(customer, stream.request_id).open()
    assert resumed.next_row == 2000
    batch = await resumed.end(2000)
    verify_batch(ground, batch, await customer.products(resumed.batch_id))


async def test_cancelled_stream_is_resumed(ground: Ground, customer: Customer) -> None:
    stream = await Import(customer).open()
    tokens = list((await stream.chunk(0, rows(1000))).tokens)
    await stream.send(chunk=factory_pb2.ImportChunk(first_row=1000, rows=rows(1000, 1000)))
    stream.call.cancel()
    resumed = await Import(customer, stream.request_id).open()
    assert resumed.batch_id == stream.batch_id
    assert resumed.next_row in {1000, 2000}
    tokens += (await resumed.chunk(1000, rows(1000, 1000))).tokens
    batch = await resumed.end(2000)
    products = await customer.products(stream.batch_id)
    assert [product.token for product in products] == tokens
    verify_batch(ground, batch, products)


async def test_second_stream_fences_the_first_off(ground: Ground, customer: Customer) -> None:
    first = await Import(customer).open()
    await first.chunk(0, rows(10))
    second = await Import(customer, first.request_id).open()
    assert second.next_row == 10
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await first.chunk(10, rows(10, 10))
    assert reason_of(error.value) == "SEQUENCE_CONFLICT"
    await second.chunk(10, rows(10, 10))
    batch = await second.end(20)
    verify_batch(ground, batch, await customer.products(second.batch_id))


async def test_end_is_answered_again(customer: Customer) -> None:
    stream = await Import(customer).open()
    ack = await stream.chunk(0, rows(5))
    ordered = await stream.end(5)
    again = await Import(customer, stream.request_id).open()
    assert again.next_row == 5
    assert await again.chunk(0, rows(5)) == ack
    assert (await again.end(5)).batch_id == ordered.batch_id
    late = await Import(customer, stream.request_id).open()
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await late.chunk(5, rows(1))
    assert reason_of(error.value) == "BATCH_STATE_CONFLICT"


async def test_same_request_with_another_header_is_refused(customer: Customer) -> None:
    stream = await Import(customer).open()
    for other in ({"name": "other"}, {"template": {"brand": "Voke"}}):
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await Import(customer, stream.request_id, **other).open()
        assert reason_of(error.value) == "REQUEST_ID_REUSED"
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await customer.order(1, request_id=stream.request_id)
    assert reason_of(error.value) == "REQUEST_ID_REUSED"


async def test_cancelled_batch_takes_no_rows(customer: Customer) -> None:
    stream = await Import(customer).open()
    await stream.chunk(0, rows(5))
    request = factory_pb2.CancelBatchRequest(request_id=str(uuid4()), batch_id=stream.batch_id)
    assert (await customer.stub.CancelBatch(request)).batch.state == factory_pb2.BATCH_STATE_CANCELLED
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await stream.chunk(5, rows(5))
    assert reason_of(error.value) == "BATCH_STATE_CONFLICT"
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await Import(customer, stream.request_id).open()
    assert reason_of(error.value) == "BATCH_STATE_CONFLICT"


async def test_closing_without_an_end_leaves_the_import_open(customer: Customer) -> None:
    stream = await Import(customer).open()
    await stream.chunk(0, rows(5))
    await stream.call.done_writing()
    assert await stream.call.read() is grpc.aio.EOF
    assert await stream.call.code() is grpc.StatusCode.OK
    assert (await customer.batch(stream.batch_id)).state == factory_pb2.BATCH_STATE_RECEIVING
    assert (await Import(customer, stream.request_id).open()).next_row == 5


async def test_batch_never_has_more_than_a_million_products(ground: Ground, customer: Customer) -> None:
    stream = await Import(customer).open()
    await stream.chunk(0, rows(1))
    async with ground.owner() as owner:
        # As if 999,999 more rows had come: only the counters and the right edge of the tree are looked at.
        await owner.execute(
            "UPDATE batches SET issued_count = 999999, next_row = 999999 WHERE batch_id = $1", stream.batch_id
        )
        await owner.execute("DELETE FROM tiles WHERE batch_id = $1", stream.batch_id)
        for level, index, width in ((0, 3906, 63), (1, 15, 66), (2, 0, 15)):
            await owner.execute(
                "INSERT INTO tiles VALUES ($1, $2, $3, $4)", stream.batch_id, level, index, bytes(32 * width)
            )
    full = await Import(customer, stream.request_id).open()
    assert full.next_row == 999_999
    await full.chunk(999_999, rows(1))
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await full.chunk(1_000_000, rows(1))
    assert reason_of(error.value) == "BATCH_TOO_LARGE"
    assert (await customer.batch(stream.batch_id)).issued_count == 1_000_000


async def test_streams_broken_off_leave_nothing_running(customer: Customer) -> None:
    batch_id = (await Import(customer).open()).batch_id
    before = len(asyncio.all_tasks())
    for _ in range(10):
        stream = await Import(customer).open()
        for first in range(0, 5000, 1000):
            await stream.send(chunk=factory_pb2.ImportChunk(first_row=first, rows=rows(1000, first)))
        watch = customer.stub.WatchBatch(factory_pb2.WatchBatchRequest(batch_id=batch_id))
        assert (await watch.read()).batch.batch_id == batch_id
        stream.call.cancel()
        watch.cancel()
        del stream, watch

    async def gone() -> bool:
        return len(asyncio.all_tasks()) <= before

    await eventually(gone)
