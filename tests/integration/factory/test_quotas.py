"""Quotas through the door: exactly at and one over, side by side, over midnight, through crashes; and setting them."""

import asyncio
from typing import Any
from uuid import uuid4

import grpc
import pytest
from voketag.factory.v1 import account_pb2, account_pb2_grpc, factory_pb2, lifecycle_pb2, lifecycle_pb2_grpc, table_pb2
from voketag.factory.v1.account_pb2 import SetQuotaRequest
from voketag.factory.v1.table_pb2_grpc import TableServiceStub

from mesh import audit
from mesh.client import with_api_key
from tests.fakes.clock import HandClock
from tests.integration.factory.meters import (
    DAY,
    NOON,
    ask_quota,
    issued,
    refused,
    retry_seconds,
    send_all,
    set_quota,
    usage,
)
from tests.integration.factory.world import (
    Customer,
    Door,
    Ground,
    Import,
    audit_detail,
    eventually,
    reason_of,
    rows,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")

NOBODY = "01900000-0000-7000-8000-000000000000"


async def test_orders_up_to_the_last_product_of_the_day(gate: Door, buyer: Customer, calendar: HandClock) -> None:
    first = await buyer.order(60, request_id=(request_id := str(uuid4())))
    assert (await usage(buyer)).products_today == 60
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await buyer.order(41)
    refused(error.value, "products_a_day", 100, 60)
    assert retry_seconds(error.value) == DAY / 2
    await buyer.order(40)
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await buyer.order(1, return_products=True)
    refused(error.value, "products_a_day", 100, 100)
    async with with_api_key(gate.target, buyer.key) as channel:
        lives: Any = lifecycle_pb2_grpc.LifecycleServiceStub(channel)
        single = lifecycle_pb2.CreateProductRequest(request_id=str(uuid4()), attributes={"sku": "A"})
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await lives.CreateProduct(single, timeout=10)
        refused(error.value, "products_a_day", 100, 100)
        # What was ordered before is answered, and neither that nor a cancelled batch moves the count.
        assert (await buyer.order(60, request_id=request_id)).batch == first.batch
        cancel = factory_pb2.CancelBatchRequest(request_id=str(uuid4()), batch_id=first.batch.batch_id)
        await buyer.stub.CancelBatch(cancel, timeout=10)
        now = await usage(buyer)
        assert (now.products_today, now.imports_now) == (100, 0)
        assert (now.quota.products_a_day, now.quota.concurrent_imports) == (100, 2)
        assert now.reset_time.seconds == NOON + DAY / 2
        calendar.seconds = NOON + DAY / 2 - 0.5
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await buyer.order(1)
        assert retry_seconds(error.value) == 0.5
        calendar.seconds += 0.5
        await lives.CreateProduct(single, timeout=10)
    assert (await usage(buyer)).products_today == 1


async def test_refused_order_leaves_nothing(ground: Ground, buyer: Customer) -> None:
    with pytest.raises(grpc.aio.AioRpcError):
        await buyer.order(101, return_products=True)
    async with ground.owner() as owner:
        for table in ("batches", "usage"):
            assert await owner.fetchval(f"SELECT count(*) FROM {table} WHERE factory_id = $1", buyer.factory_id) == 0
        caller = f"factory:{buyer.factory_id}"
        assert (
            await owner.fetchval(
                "SELECT count(*) FROM audit WHERE result = 'OK' AND actor_id = $1", str(buyer.factory_id)
            )
            == 0
        )
        assert await owner.fetchval("SELECT count(*) FROM idempotency WHERE caller = $1", caller) == 0


async def test_orders_at_once_never_exceed(ground: Ground, buyer: Customer) -> None:
    answers = await asyncio.gather(*(buyer.order(30, return_products=True) for _ in range(8)), return_exceptions=True)
    refusals = [answer for answer in answers if isinstance(answer, grpc.aio.AioRpcError)]
    assert len(refusals) == 5
    assert {reason_of(refusal) for refusal in refusals} == {"QUOTA_EXCEEDED"}
    assert (await issued(ground, buyer), (await usage(buyer)).products_today) == (90, 90)


async def test_import_goes_on_the_next_day_where_it_stood(ground: Ground, buyer: Customer, calendar: HandClock) -> None:
    stream = await Import(buyer).open()
    acknowledged, error = await send_all(stream, 6, 30)
    assert acknowledged == 90
    assert error is not None
    refused(error, "products_a_day", 100, 90)
    assert retry_seconds(error) == DAY / 2
    assert (await issued(ground, buyer), (await usage(buyer)).products_today) == (90, 90)
    again = await Import(buyer, stream.request_id).open()
    assert (again.batch_id, again.next_row) == (stream.batch_id, 90)
    # Ten are left of the day, and a chunk that needs no more is taken.
    assert (await again.chunk(90, rows(10, 90))).committed_rows == 100
    assert (await again.chunk(0, rows(30))).committed_rows == 30, "a repeat is not charged"
    again.next_row = 100
    _, error = await send_all(again, 6, 20)
    assert error is not None
    refused(error, "products_a_day", 100, 100)
    calendar.seconds += DAY
    last = await Import(buyer, stream.request_id).open()
    assert last.next_row == 100
    assert (await last.chunk(100, rows(80, 100))).committed_rows == 180
    assert (await last.end(180)).product_count == 180
    assert (await usage(buyer)).products_today == 80


async def test_midnight_within_an_import(ground: Ground, gate: Door, buyer: Customer, calendar: HandClock) -> None:
    await set_quota(gate, buyer, products_a_day=100_000)
    stream = await Import(buyer).open()
    for first in (0, 50, 100, 150):
        await stream.chunk(first, rows(50, first))
    held = (await usage(buyer)).products_today
    assert 200 < held <= 400, "a block is charged ahead, of twice the size of the one before"
    calendar.seconds += DAY
    await stream.chunk(200, rows(50, 200))
    await stream.end(250)
    async with ground.owner() as owner:
        query = "SELECT charged FROM usage WHERE factory_id = $1 ORDER BY day"
        assert [row["charged"] for row in await owner.fetch(query, buyer.factory_id)] == [200, 50]


async def test_refused_rows_cost_nothing(buyer: Customer) -> None:
    stream = await Import(buyer).open()
    ack = await stream.chunk(0, [*rows(10), *(factory_pb2.ImportRow(gtin="1") for _ in range(200))])
    assert (len(ack.tokens), len(ack.errors)) == (10, 200)
    await stream.end(210)
    assert (await usage(buyer)).products_today == 10


async def test_imports_side_by_side_never_exceed(ground: Ground, gate: Door, buyer: Customer) -> None:
    limit = 1_950
    await set_quota(gate, buyer, products_a_day=limit, concurrent_imports=6)
    streams = [await Import(buyer).open() for _ in range(6)]
    ends = await asyncio.gather(*(send_all(stream, 10, 100) for stream in streams))
    acknowledged = sum(count for count, _ in ends)
    assert all(error is None or reason_of(error) == "QUOTA_EXCEEDED" for _, error in ends)
    assert any(error is not None for _, error in ends)
    for stream, (_, error) in zip(streams, ends, strict=True):
        if error is None:
            stream.call.cancel()
    assert acknowledged == await issued(ground, buyer)
    assert limit - 6 * 100 <= acknowledged <= limit

    async def settled() -> bool:
        return (await usage(buyer)).products_today == acknowledged

    await eventually(settled)


async def test_file_goes_on_the_next_day(ground: Ground, gate: Door, buyer: Customer, calendar: HandClock) -> None:
    await set_quota(gate, buyer, products_a_day=1_500)
    request_id = str(uuid4())
    data = b"sku,serial\n" + b"".join(b"A,%06d\n" % number for number in range(2_200))

    async def send() -> table_pb2.ImportCsvResponse:
        frames = [
            table_pb2.ImportCsvRequest(header=table_pb2.CsvHeader(request_id=request_id, name="file")),
            table_pb2.ImportCsvRequest(data=data),
        ]
        stub: Any = TableServiceStub(channel)
        answer: table_pb2.ImportCsvResponse = await stub.ImportCsv(
            iter(frames), metadata=(("x-api-key", buyer.key),), timeout=30
        )
        return answer

    async with grpc.aio.insecure_channel(gate.target) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await send()
        refused(error.value, "products_a_day", 1_500, 1_000)
        assert (await issued(ground, buyer), (await usage(buyer)).products_today) == (1_000, 1_000)
        calendar.seconds += DAY
        answer = await send()
        assert answer.batch.product_count == answer.row_count == 2_200
        assert (await usage(buyer)).products_today == 1_200
        assert await send() == answer
    assert (await usage(buyer)).products_today == 1_200


async def test_quota_is_set_once_and_said_by_whom(ground: Ground, gate: Door, buyer: Customer) -> None:
    request = SetQuotaRequest(request_id=str(uuid4()), factory_id=str(buyer.factory_id), products_a_day=7)
    answer = await ask_quota(gate, request)
    assert (answer.quota.products_a_day, answer.quota.concurrent_imports) == (7, 2)
    assert await ask_quota(gate, request) == answer
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await buyer.order(8)
    refused(error.value, "products_a_day", 7, 0)
    await buyer.order(7)
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await ask_quota(gate, SetQuotaRequest(request_id=request.request_id, factory_id=request.factory_id))
    assert reason_of(error.value) == "REQUEST_ID_REUSED"
    assert (await set_quota(gate, buyer, products_a_day=3)).products_a_day == 3, "below what is used already"
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await buyer.order(1)
    refused(error.value, "products_a_day", 3, 7)
    assert (await set_quota(gate, buyer)).products_a_day == 100
    await buyer.order(93)
    async with ground.owner() as owner:
        query = (
            "SELECT * FROM audit WHERE result = 'OK' AND resource = $1 AND method LIKE '%SetQuota' ORDER BY audit_id"
        )
        found = await owner.fetch(query, f"factory/{buyer.factory_id}")
    assert [audit_detail(row)["products_a_day"] for row in found] == [
        audit.change(*each) for each in ((None, 7), (7, 3), (3, None))
    ]
    assert {(row["actor_kind"], row["actor_id"]) for row in found} == {("service", "admin")}


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"products_a_day": -1}, "VALIDATION_FAILED"),
        ({"products_a_day": 1_000_000_001}, "VALIDATION_FAILED"),
        ({"concurrent_imports": -1}, "VALIDATION_FAILED"),
        ({"concurrent_imports": 1_001}, "VALIDATION_FAILED"),
        ({"request_id": ""}, "VALIDATION_FAILED"),
        ({"request_id": "x"}, "VALIDATION_FAILED"),
        ({"factory_id": ""}, "VALIDATION_FAILED"),
        ({"factory_id": "0" * 5_000}, "VALIDATION_FAILED"),
        ({"factory_id": NOBODY}, "FACTORY_NOT_FOUND"),
    ],
    ids=str,
)
async def test_wrong_quota_is_refused(gate: Door, buyer: Customer, wrong: dict[str, Any], reason: str) -> None:
    fields: dict[str, Any] = {"request_id": str(uuid4()), "factory_id": str(buyer.factory_id)}
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await ask_quota(gate, SetQuotaRequest(**fields | wrong))
    assert reason_of(error.value) == reason
    assert (await usage(buyer)).quota.products_a_day == 100


async def test_quotas_are_set_by_admin_and_read_by_the_factory(gate: Door, buyer: Customer) -> None:
    request = SetQuotaRequest(request_id=str(uuid4()), factory_id=str(buyer.factory_id), products_a_day=10**9)
    async with with_api_key(gate.target, buyer.key) as channel:
        stub: Any = account_pb2_grpc.AccountServiceStub(channel)
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await stub.SetQuota(request)
        assert reason_of(error.value) == "ACCESS_DENIED"
    async with gate.channel() as channel:
        stub = account_pb2_grpc.AccountServiceStub(channel)
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await stub.GetUsage(account_pb2.GetUsageRequest())
        assert reason_of(error.value) == "ACCESS_DENIED"
