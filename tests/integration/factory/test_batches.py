"""Orders, reads, lists and cancellation through a real server."""

from contextlib import suppress
from uuid import uuid4

import asyncpg
import grpc
import pytest
from voketag.factory.v1 import factory_pb2

from factory.batch import BatchState
from mesh import audit
from tests.integration.factory.world import (
    URL_PREFIX,
    Customer,
    Door,
    Ground,
    Import,
    audit_detail,
    reason_of,
    rows,
    verify_batch,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_small_batch_comes_back_whole_and_again_the_same(ground: Ground, customer: Customer) -> None:
    order = {"request_id": str(uuid4()), "template": {"gtin": "4006381333931"}, "return_products": True}
    first = await customer.order(1000, **order)
    assert first.batch.state == factory_pb2.BATCH_STATE_PENDING
    assert first.batch.issued_count == first.batch.product_count == 1000
    verify_batch(ground, first.batch, first.products)
    again = await customer.order(1000, **order)
    assert list(again.products) == list(first.products)
    assert again.batch.batch_id == first.batch.batch_id
    assert list(first.products) == await customer.products(first.batch.batch_id, page_size=300)
    async with ground.owner() as owner:
        jobs = await owner.fetch("SELECT payload FROM pgqueuer WHERE entrypoint = 'batch.build'")
        batch_id = asyncpg.pgproto.pgproto.UUID(first.batch.batch_id)
        assert [job["payload"][16:] for job in jobs].count(batch_id.bytes) == 1
        audits = await owner.fetch(
            "SELECT * FROM audit WHERE result = 'OK' AND resource = $1", f"batch/{first.batch.batch_id}"
        )
        assert len(audits) == 1
        assert (audits[0]["actor_kind"], audits[0]["actor_id"]) == ("factory", str(customer.factory_id))
        assert str(audits[0]["request_id"]) == order["request_id"]
        assert audit_detail(audits[0]) == {"name": "batch", "product_count": 1000, "state": "PENDING"}


async def test_same_request_with_another_body_is_refused(customer: Customer) -> None:
    request_id = str(uuid4())
    await customer.order(1, request_id=request_id)
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await customer.order(2, request_id=request_id)
    assert error.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert reason_of(error.value) == "REQUEST_ID_REUSED"


@pytest.mark.parametrize(
    ("count", "more"),
    [
        (0, {}),
        (1_000_001, {}),
        (1001, {"return_products": True}),
        (1, {"name": ""}),
        (1, {"name": "x" * 121}),
        (1, {"name": "nul \x00"}),
        (1, {"request_id": "no uuid"}),
        (1, {"template": {"gtin": "4006381333932"}}),
        (1, {"template": {"market": "XX"}}),
        (1, {"template": {"Upper": "x"}}),
        (1, {"template": {"note": "x" * 4096}}),
        (1, {"template": {"note": "bell \x07"}}),
        (1, {"template": {f"key{number}": "x" for number in range(65)}}),
    ],
)
async def test_order_that_breaks_the_contract_is_refused(customer: Customer, count: int, more: dict[str, str]) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await customer.order(count, **more)
    assert error.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert reason_of(error.value) == "VALIDATION_FAILED"
    assert not (await customer.stub.ListBatches(factory_pb2.ListBatchesRequest())).batches


async def test_product_is_given_with_its_token(customer: Customer) -> None:
    order = await customer.order(3, template={"brand": "Voke"}, return_products=True)
    wanted = order.products[1]
    got = await customer.stub.GetProduct(factory_pb2.GetProductRequest(product_id=wanted.product_id.upper()))
    assert got.product == wanted
    assert wanted.url == URL_PREFIX + wanted.token
    assert dict(wanted.attributes) == {"brand": "Voke"}


async def test_batches_are_listed_newest_first_by_state(customer: Customer) -> None:
    ids = [(await customer.order(1, name=f"batch {number}")).batch.batch_id for number in range(7)]
    stream = await Import(customer).open()
    listed: list[str] = []
    token = ""
    while True:
        request = factory_pb2.ListBatchesRequest(page_size=3, page_token=token)
        page = await customer.stub.ListBatches(request)
        listed.extend(batch.batch_id for batch in page.batches)
        token = page.next_page_token
        if not token:
            break
    assert listed == [stream.batch_id, *reversed(ids)]
    receiving = factory_pb2.ListBatchesRequest(state=factory_pb2.BATCH_STATE_RECEIVING)
    assert [batch.batch_id for batch in (await customer.stub.ListBatches(receiving)).batches] == [stream.batch_id]


async def test_page_token_is_good_for_its_list_and_caller_only(door: Door, customer: Customer) -> None:
    orders = [await customer.order(3, return_products=True) for _ in range(3)]
    batches = (await customer.stub.ListBatches(factory_pb2.ListBatchesRequest(page_size=1))).next_page_token
    first = factory_pb2.ListProductsRequest(batch_id=orders[0].batch.batch_id, page_size=1)
    products = (await customer.stub.ListProducts(first)).next_page_token
    pending = factory_pb2.BATCH_STATE_PENDING
    for request in (
        factory_pb2.ListBatchesRequest(page_token=batches, state=pending),
        factory_pb2.ListBatchesRequest(page_token=products),
        factory_pb2.ListBatchesRequest(page_token=batches[:-1]),
        factory_pb2.ListBatchesRequest(page_token="nonsense"),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await customer.stub.ListBatches(request)
        assert reason_of(error.value) == "PAGE_TOKEN_INVALID"
    other = factory_pb2.ListProductsRequest(batch_id=orders[1].batch.batch_id, page_size=1, page_token=products)
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await customer.stub.ListProducts(other)
    assert reason_of(error.value) == "PAGE_TOKEN_INVALID"
    async with door.customer() as stranger:
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await stranger.stub.ListBatches(factory_pb2.ListBatchesRequest(page_token=batches))
        assert reason_of(error.value) == "PAGE_TOKEN_INVALID"


async def test_products_are_listed_over_uneven_chunks(customer: Customer) -> None:
    stream = await Import(customer).open()
    tokens: list[str] = []
    first = 0
    for count in (1, 7, 300, 2, 90):
        bad = [factory_pb2.ImportRow(gtin="1")] * (count % 3)
        tokens += (await stream.chunk(first, [*bad, *rows(count, first)])).tokens
        first += count + len(bad)
    await stream.chunk(first, [factory_pb2.ImportRow(gtin="1")])
    for page_size in (9, 64, 399, 400, 401):
        listed = await customer.products(stream.batch_id, page_size=page_size)
        assert [product.token for product in listed] == tokens
        assert [product.index for product in listed] == list(range(400))


async def test_cancelled_batch_stays_cancelled(ground: Ground, customer: Customer) -> None:
    batch_id = (await customer.order(1)).batch.batch_id
    request = factory_pb2.CancelBatchRequest(request_id=str(uuid4()), batch_id=batch_id)
    assert (await customer.stub.CancelBatch(request)).batch.state == factory_pb2.BATCH_STATE_CANCELLED
    assert (await customer.stub.CancelBatch(request)).batch.state == factory_pb2.BATCH_STATE_CANCELLED
    request.request_id = str(uuid4())
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await customer.stub.CancelBatch(request)
    assert error.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert reason_of(error.value) == "BATCH_STATE_CONFLICT"
    async with ground.owner() as owner:
        audits = await owner.fetch(
            "SELECT detail FROM audit WHERE result = 'OK' AND resource = $1", f"batch/{batch_id}"
        )
        assert [audit_detail(row)["state"] for row in audits] == ["PENDING", audit.change("PENDING", "CANCELLED")]


LEGAL = {
    ("RECEIVING", "PENDING"),
    ("RECEIVING", "CANCELLED"),
    ("PENDING", "PROCESSING"),
    ("PENDING", "CANCELLED"),
    ("PENDING", "FAILED"),
    ("PROCESSING", "ANCHORING"),
    ("PROCESSING", "PENDING"),
    ("PROCESSING", "CANCELLED"),
    ("PROCESSING", "FAILED"),
    ("ANCHORING", "COMPLETED"),
    ("ANCHORING", "FAILED"),
    ("FAILED", "PENDING"),
}


async def test_database_refuses_every_illegal_transition(ground: Ground, customer: Customer) -> None:
    batch_id = (await customer.order(1)).batch.batch_id
    found = set()
    async with ground.owner() as owner:
        for before in BatchState:
            for after in BatchState:
                transaction = owner.transaction()
                await transaction.start()
                await owner.execute("ALTER TABLE batches DISABLE TRIGGER enforce_transition")
                move = (
                    "UPDATE batches SET state = $2, root = $3, chain_id = CASE $2 WHEN 'COMPLETED' THEN 1 END "
                    "WHERE batch_id = $1"
                )
                await owner.execute(move, batch_id, before, bytes(32))
                await owner.execute("ALTER TABLE batches ENABLE TRIGGER enforce_transition")
                with suppress(asyncpg.CheckViolationError):
                    await owner.execute(move, batch_id, after, bytes(32))
                    found.add((before.value, after.value))
                await transaction.rollback()
    assert found == LEGAL


async def test_services_role_touches_its_tables_alone(ground: Ground, customer: Customer) -> None:
    order = await customer.order(2, template={"brand": "Voke"}, return_products=True)
    scan = await asyncpg.connect(ground.database.url("scan"), password=ground.database.server.password)
    try:
        card = await scan.fetchrow(
            "SELECT * FROM factory.product_cards WHERE product_id = $1", order.products[1].product_id
        )
        assert card is not None
        assert (card["product_index"], card["batch_state"], card["batch_root"]) == (1, "PENDING", None)
        assert card["attributes"] == b'{"brand":"Voke"}'
        for table in ("products", "batches", "api_keys", "tiles", "audit", "audit_rows"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await scan.fetch(f"SELECT * FROM factory.{table}")
    finally:
        await scan.close()
    service = await asyncpg.connect(ground.database.url("factory"), password=ground.database.server.password)
    try:
        for statement in (
            "DELETE FROM audit",
            "UPDATE audit SET method = ''",
            "DELETE FROM products",
            "DELETE FROM chunks",
        ):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await service.execute(statement.replace("FROM ", "FROM factory.").replace("UPDATE ", "UPDATE factory."))
    finally:
        await service.close()
