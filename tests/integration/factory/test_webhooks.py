"""Endpoints and their log, through the door: what is refused, repeated, listed, and never shown to another factory."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import grpc
import pytest
import pytest_asyncio
from voketag.factory.v1 import webhook_pb2 as pb
from voketag.factory.v1 import webhook_pb2_grpc

from factory.webhooks import ENDPOINTS
from tests.integration.factory.receivers import Hooks, delivering, hooks, receiving
from tests.integration.factory.world import Customer, Door, Ground, audit_detail, metadata_of, reason_of

pytestmark = pytest.mark.asyncio(loop_scope="module")
URL = "https://hooks.example.com/voketag"
PENDING, DELIVERED = 1, 2


@pytest_asyncio.fixture(loop_scope="module")
async def mine(customer: Customer) -> AsyncIterator[Hooks]:
    async with hooks(customer) as mine:
        yield mine


@pytest_asyncio.fixture(loop_scope="module")
async def theirs(door: Door) -> AsyncIterator[Hooks]:
    async with door.customer() as other, hooks(other) as theirs:
        yield theirs


async def refused(call: Any) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await call
    return error.value.code(), reason_of(error.value)


async def test_endpoint_is_registered_once_and_no_secret_is_at_rest(ground: Ground, mine: Hooks) -> None:
    request_id = str(uuid4())
    created = await mine.create(URL, 1, 3, request_id=request_id)
    assert await mine.create(URL, 1, 3, request_id=request_id) == created
    assert created.secret.startswith("whsec_")
    assert created.endpoint.public_key.startswith("whpk_")
    assert (created.endpoint.url, list(created.endpoint.event_types)) == (URL, [1, 3])
    assert not created.endpoint.HasField("disable_time")
    assert await mine.endpoint(created.endpoint.endpoint_id) == created.endpoint
    assert await refused(mine.create(URL, 1, request_id=request_id)) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "REQUEST_ID_REUSED",
    )
    async with ground.owner() as owner:
        rows = await owner.fetch(
            "SELECT to_jsonb(e)::text AS row FROM webhook_endpoints e UNION SELECT to_jsonb(a)::text FROM audit a"
        )
        assert not [row for row in rows if created.secret.removeprefix("whsec_") in row["row"]]
        audits = await owner.fetch(
            "SELECT * FROM audit WHERE result = 'OK' AND resource = $1", f"endpoint/{created.endpoint.endpoint_id}"
        )
    assert [audit_detail(row)["url"] for row in audits] == [URL]


@pytest.mark.parametrize(
    "broken",
    [
        {"request_id": "x"},
        {"url": ""},
        {"url": "https://example.com/" + "x" * 2048},
        {"event_types": [0]},
        {"event_types": [6]},
        {"event_types": [99]},
        {"event_types": [1, 1]},
    ],
)
async def test_endpoint_that_breaks_the_contract(mine: Hooks, broken: dict[str, Any]) -> None:
    request: dict[str, Any] = {"request_id": str(uuid4()), "url": URL} | broken
    call = mine.stub.CreateEndpoint(pb.CreateEndpointRequest(**request))
    assert await refused(call) == (grpc.StatusCode.INVALID_ARGUMENT, "VALIDATION_FAILED")


async def test_addresses_that_are_not_public_are_refused_at_once(ground: Ground) -> None:
    async with ground.server(webhook_allow_private=False) as door, door.customer() as customer:
        async with hooks(customer) as strict:
            for url, why in (
                ("http://example.com/", "its scheme is not https"),
                ("https://127.0.0.1/", "its address is not public"),
                ("https://[::ffff:169.254.169.254]/", "its address is not public"),
                ("https://a:b@example.com/", "it has a user name or a password"),
                ("https://example.com:25/", "its port is neither 443 nor one from 1024 on"),
                ("not a URL", "it has spaces or control characters"),
            ):
                with pytest.raises(grpc.aio.AioRpcError) as error:
                    await strict.create(url)
                assert error.value.code() is grpc.StatusCode.FAILED_PRECONDITION
                assert reason_of(error.value) == "ENDPOINT_REFUSED"
                assert metadata_of(error.value) == {"why": why}
            assert (await strict.create(URL)).endpoint.url == URL


async def test_twenty_endpoints_and_no_more_even_at_once(mine: Hooks) -> None:
    answers = await asyncio.gather(*[mine.create(URL) for _ in range(ENDPOINTS + 5)], return_exceptions=True)
    made = [answer for answer in answers if isinstance(answer, pb.CreateEndpointResponse)]
    errors = [answer for answer in answers if isinstance(answer, grpc.aio.AioRpcError)]
    assert (len(made), len(errors)) == (ENDPOINTS, 5)
    assert {metadata_of(error)["why"] for error in errors} == {f"there are {ENDPOINTS} already"}
    await mine.disable(made[0].endpoint.endpoint_id)
    await mine.create(URL)
    assert await refused(mine.create(URL)) == (grpc.StatusCode.FAILED_PRECONDITION, "ENDPOINT_REFUSED")


async def test_lists_are_paged_and_their_tokens_are_the_callers(mine: Hooks, theirs: Hooks) -> None:
    created = [(await mine.create(URL)).endpoint.endpoint_id for _ in range(5)]
    found: list[str] = []
    token = ""
    while True:
        page = await mine.stub.ListEndpoints(pb.ListEndpointsRequest(page_size=2, page_token=token))
        found.extend(endpoint.endpoint_id for endpoint in page.endpoints)
        if not page.next_page_token:
            break
        token = page.next_page_token
    assert found == created[::-1]
    invalid = (grpc.StatusCode.INVALID_ARGUMENT, "PAGE_TOKEN_INVALID")
    assert await refused(theirs.stub.ListEndpoints(pb.ListEndpointsRequest(page_token=token))) == invalid
    for _ in range(5):
        await mine.test(created[0])
    deliveries = await mine.deliveries(created[0], page_size=2)
    assert deliveries == await mine.deliveries(created[0])
    ids = [delivery.delivery_id for delivery in deliveries]
    assert len(ids) == 5
    assert ids == sorted(ids, reverse=True)
    assert await mine.deliveries(created[0], state=PENDING) == deliveries
    assert not await mine.deliveries(created[0], state=DELIVERED)
    page = await mine.stub.ListDeliveries(pb.ListDeliveriesRequest(endpoint_id=created[0], page_size=2))
    for other in ({"endpoint_id": created[1]}, {"endpoint_id": created[0], "state": DELIVERED}):
        request = pb.ListDeliveriesRequest(page_token=page.next_page_token, **other)
        assert await refused(mine.stub.ListDeliveries(request)) == invalid


async def test_disabled_twice_is_disabled_once(mine: Hooks) -> None:
    endpoint_id = (await mine.create(URL)).endpoint.endpoint_id
    disabled = await mine.disable(endpoint_id)
    assert disabled.disable_reason == pb.DISABLE_REASON_REQUESTED
    assert await mine.disable(endpoint_id) == disabled == await mine.endpoint(endpoint_id)


async def test_rotation_asked_for_twice_is_one(mine: Hooks) -> None:
    created = await mine.create(URL)
    request = pb.RotateSecretRequest(request_id=str(uuid4()), endpoint_id=created.endpoint.endpoint_id)
    first = await mine.stub.RotateSecret(request)
    assert await mine.stub.RotateSecret(request) == first
    assert first.secret != created.secret
    secrets = {(await mine.rotate(created.endpoint.endpoint_id)).secret for _ in range(5)}
    assert len(secrets | {created.secret, first.secret}) == 7


async def test_test_asked_for_twice_is_one_delivery(mine: Hooks) -> None:
    endpoint_id = (await mine.create(URL)).endpoint.endpoint_id
    request = pb.TestEndpointRequest(request_id=str(uuid4()), endpoint_id=endpoint_id)
    first = await mine.stub.TestEndpoint(request)
    assert await mine.stub.TestEndpoint(request) == first
    assert await mine.deliveries(endpoint_id) == [first.delivery]


async def test_another_factorys_ids_are_as_unknown_as_none(mine: Hooks, theirs: Hooks) -> None:
    endpoint_id = (await mine.create(URL)).endpoint.endpoint_id
    delivery_id = (await mine.test(endpoint_id)).delivery_id
    endpoint, delivery = await mine.endpoint(endpoint_id), await mine.deliveries(endpoint_id)
    for stranger in (endpoint_id, str(uuid4())):
        unknown = (grpc.StatusCode.NOT_FOUND, "ENDPOINT_NOT_FOUND")
        for call in (theirs.rotate, theirs.disable, theirs.test, theirs.deliveries):
            assert await refused(call(stranger)) == unknown
    for stranger in (delivery_id, str(uuid4())):
        assert await refused(theirs.replay(stranger)) == (grpc.StatusCode.NOT_FOUND, "DELIVERY_NOT_FOUND")
    assert not (await theirs.stub.ListEndpoints(pb.ListEndpointsRequest())).endpoints
    assert await mine.endpoint(endpoint_id) == endpoint
    assert await mine.deliveries(endpoint_id) == delivery


async def test_fraud_is_told_to_the_factory_of_the_product(
    ground: Ground, door: Door, mine: Hooks, theirs: Hooks
) -> None:
    order = await mine.customer.order(1, return_products=True)
    product_id = order.products[0].product_id
    request = pb.RaiseFraudSuspectedRequest(
        request_id=str(uuid4()),
        product_id=product_id,
        risk_score=87,
        verdict="LIKELY_COPY",
        message_codes=["copies.many_sessions", "travel.impossible"],
    )
    async with receiving() as receiver, receiving() as strangers, delivering(ground), door.channel("scan") as channel:
        await mine.create(receiver.url, pb.EVENT_TYPE_FRAUD_SUSPECTED)
        await mine.create(receiver.url, pb.EVENT_TYPE_BATCH_COMPLETED)
        await theirs.create(strangers.url)
        stub: Any = webhook_pb2_grpc.WebhookServiceStub(channel)
        raised = await stub.RaiseFraudSuspected(request, timeout=10)
        assert await stub.RaiseFraudSuspected(request, timeout=10) == raised
        (got,) = await receiver.got(1)
        request.risk_score = 88
        assert (await refused(stub.RaiseFraudSuspected(request)))[1] == "REQUEST_ID_REUSED"
        request.request_id, request.product_id = str(uuid4()), str(uuid4())
        unknown = (grpc.StatusCode.NOT_FOUND, "PRODUCT_NOT_FOUND")
        assert await refused(stub.RaiseFraudSuspected(request)) == unknown
    assert got.id == raised.event_id
    assert got.event["type"] == "fraud.suspected"
    assert got.event["data"] == {
        "productId": product_id,
        "batchId": order.batch.batch_id,
        "riskScore": 87,
        "verdict": "LIKELY_COPY",
        "messageCodes": ["copies.many_sessions", "travel.impossible"],
    }
    assert (len(receiver.received), strangers.received) == (1, [])


@pytest.mark.parametrize(
    "broken",
    [{"risk_score": 101}, {"verdict": ""}, {"verdict": "likely"}, {"message_codes": [""]}, {"product_id": "x"}],
)
async def test_suspicion_that_breaks_the_contract(door: Door, broken: dict[str, Any]) -> None:
    fields: dict[str, Any] = {"request_id": str(uuid4()), "product_id": str(uuid4()), "verdict": "LIKELY_COPY"}
    async with door.channel("admin") as channel:
        stub: Any = webhook_pb2_grpc.WebhookServiceStub(channel)
        call = stub.RaiseFraudSuspected(pb.RaiseFraudSuspectedRequest(**fields | broken))
        assert await refused(call) == (grpc.StatusCode.INVALID_ARGUMENT, "VALIDATION_FAILED")


async def test_only_scan_and_admin_raise_suspicions_and_only_factories_have_endpoints(door: Door, mine: Hooks) -> None:
    request = pb.RaiseFraudSuspectedRequest(request_id=str(uuid4()), product_id=str(uuid4()), verdict="LIKELY_COPY")
    assert (await refused(mine.stub.RaiseFraudSuspected(request)))[0] is grpc.StatusCode.PERMISSION_DENIED
    async with door.channel("anchor") as anchor, door.channel("scan") as scan:
        stub: Any = webhook_pb2_grpc.WebhookServiceStub(anchor)
        assert (await refused(stub.RaiseFraudSuspected(request)))[1] == "ACCESS_DENIED"
        stub = webhook_pb2_grpc.WebhookServiceStub(scan)
        assert (await refused(stub.ListEndpoints(pb.ListEndpointsRequest())))[1] == "ACCESS_DENIED"


async def test_factory_without_endpoints_writes_no_event(ground: Ground, door: Door, mine: Hooks) -> None:
    order = await mine.customer.order(1, return_products=True)
    ignored = (await mine.create(URL, pb.EVENT_TYPE_BATCH_FAILED)).endpoint.endpoint_id
    request = pb.RaiseFraudSuspectedRequest(
        request_id=str(uuid4()), product_id=order.products[0].product_id, verdict="LIKELY_COPY"
    )
    async with door.channel("scan") as channel:
        stub: Any = webhook_pb2_grpc.WebhookServiceStub(channel)
        raised = await stub.RaiseFraudSuspected(request, timeout=10)
        assert await stub.RaiseFraudSuspected(request, timeout=10) == raised
    assert not await mine.deliveries(ignored)
    async with ground.owner() as owner:
        query = "SELECT count(*) FROM webhook_events WHERE factory_id = $1"
        assert await owner.fetchval(query, mine.customer.factory_id) == 0
