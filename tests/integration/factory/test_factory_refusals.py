"""Refused changes of a factory, of people and of services are in the audit; what nobody known asked for is not."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID, uuid4

import grpc
import pytest
from prometheus_client import REGISTRY
from voketag.factory.v1 import factory_pb2

from tests.fakes.people import access_token
from tests.integration.factory.world import Customer, Door, Ground, Import, eventually, reason_of, rows
from tests.refusals import AT_ONCE, Refusal, refusals

pytestmark = pytest.mark.asyncio(loop_scope="module")
AT = ("x-client-address", "203.0.113.77")
PREFIX = "203.0.113.0/24"


async def logged(ground: Ground, actor_id: object) -> list[Refusal]:
    async with ground.owner() as owner:
        return await refusals(owner, "factory", str(actor_id))


async def refused(call: Any) -> str:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await call
    return reason_of(error.value)


async def cancel(customer: Customer, batch_id: str, **headers: str) -> str:
    """The reason why a batch cannot be cancelled, with a key of nobody unless headers say whose."""
    request = factory_pb2.CancelBatchRequest(request_id=str(uuid4()), batch_id=batch_id)
    return await refused(customer.plain.CancelBatch(request, metadata=(*headers.items(), AT), timeout=20))


async def test_what_a_factory_may_not_do_is_logged_and_what_it_does_is_not(ground: Ground, customer: Customer) -> None:
    key, request_id, unknown = {"x-api-key": customer.key}, uuid4(), str(uuid4())
    ordered = await customer.order(1, request_id=str(request_id))
    assert (await customer.order(1, request_id=str(request_id))).batch.batch_id == ordered.batch.batch_id
    assert await refused(customer.stub.GetBatch(factory_pb2.GetBatchRequest(batch_id=unknown))) == "BATCH_NOT_FOUND"
    assert await logged(ground, customer.factory_id) == []
    assert await refused(customer.order(2, request_id=str(request_id))) == "REQUEST_ID_REUSED"
    assert await cancel(customer, unknown, **key) == "BATCH_NOT_FOUND"
    assert await cancel(customer, "not a batch", **key) == "VALIDATION_FAILED"
    assert await refused(customer.order(1, request_id="x" * 1000)) == "VALIDATION_FAILED"
    reused, missing, malformed, nameless = await logged(ground, customer.factory_id)
    assert (reused.method, reused.resource, reused.request_id) == ("CreateBatch", "", request_id)
    assert (missing.actor, missing.role, missing.prefix) == (f"factory:{customer.factory_id}", "", PREFIX)
    assert (missing.method, missing.resource, missing.result) == ("CancelBatch", f"batch/{unknown}", "BATCH_NOT_FOUND")
    assert (malformed.resource, malformed.result) == ("", "VALIDATION_FAILED")
    assert malformed.request_id is not None
    assert (nameless.method, nameless.request_id) == ("CreateBatch", None)


async def test_people_and_services_are_named_with_what_they_may_not_do(ground: Ground, door: Door) -> None:
    factory_id, _ = await door.new_factory()
    somebody = str(uuid4())
    headers = (("authorization", f"Bearer {access_token('support', sub=somebody)}"), AT)
    async with door.person("auditor") as person:
        request = {"factory_id": str(factory_id), "request_id": str(uuid4())}
        stranger = type(person)(person.stub, headers)
        assert await stranger.refused("SuspendFactory", **request) == "ACCESS_DENIED"
    (row,) = await logged(ground, somebody)
    assert row == Refusal(
        actor=f"user:{somebody}",
        role="support",
        method="SuspendFactory",
        resource=f"factory/{factory_id}",
        request_id=UUID(request["request_id"]),
        prefix=PREFIX,
        result="ACCESS_DENIED",
    )
    async with door.channel("scan") as channel:
        call = channel.unary_unary("/voketag.factory.v1.AccountService/SuspendFactory", lambda m: m, lambda m: m)
        assert await refused(call(b"")) == "ACCESS_DENIED"
    assert (await logged(ground, "scan"))[-1].actor == "service:scan"


async def test_a_stream_is_known_by_its_header(ground: Ground, customer: Customer) -> None:
    opened = await Import(customer).open()
    assert await refused(opened.chunk(5, rows(1))) == "SEQUENCE_GAP"
    headless = Import(customer)
    await headless.send(end=factory_pb2.ImportEnd(row_count=0))
    assert await refused(headless.read()) == "STREAM_HEADER_EXPECTED"
    gap, first = await logged(ground, customer.factory_id)
    assert (gap.method, gap.result, gap.request_id) == ("ImportProducts", "SEQUENCE_GAP", UUID(opened.request_id))
    assert (first.result, first.request_id) == ("STREAM_HEADER_EXPECTED", None)


async def test_whoever_is_nobody_writes_nothing(ground: Ground, customer: Customer) -> None:
    async with ground.owner() as owner:
        before = await owner.fetchval("SELECT count(*) FROM audit")
        scheme, prefix, secret = customer.key.split("_", 2)
        for headers in ({}, {"x-api-key": f"{scheme}_{prefix}_{secret[::-1]}"}, {"authorization": "Bearer x.y.z"}):
            assert (await cancel(customer, str(uuid4()), **headers)).startswith("CREDENTIALS")
        assert await owner.fetchval("SELECT count(*) FROM audit") == before


async def test_a_flood_has_ten_rows_and_hides_no_other_refusal(ground: Ground, customer: Customer) -> None:
    key = {"x-api-key": customer.key}
    for _ in range(3):
        got = await asyncio.gather(*(cancel(customer, str(uuid4()), **key) for _ in range(10)))
        assert set(got) == {"BATCH_NOT_FOUND"}
    assert await cancel(customer, "other", **key) == "VALIDATION_FAILED"
    found = [row.result for row in await logged(ground, customer.factory_id)]
    assert found == ["BATCH_NOT_FOUND"] * AT_ONCE + ["VALIDATION_FAILED"]


@asynccontextmanager
async def no_table(ground: Ground) -> AsyncIterator[None]:
    async with ground.owner() as owner:
        await owner.execute("ALTER TABLE audit RENAME TO audit_away")
        try:
            yield
        finally:
            await owner.execute("ALTER TABLE audit_away RENAME TO audit")


def counted(outcome: str) -> float:
    return REGISTRY.get_sample_value("voketag_refusals_total", {"outcome": outcome}) or 0.0


async def test_a_row_that_cannot_be_written_changes_no_answer_and_is_counted(
    ground: Ground, customer: Customer
) -> None:
    before = counted("failed")
    async with no_table(ground):
        assert await cancel(customer, str(uuid4()), **{"x-api-key": customer.key}) == "BATCH_NOT_FOUND"
    assert counted("failed") == before + 1
    assert await logged(ground, customer.factory_id) == []


async def test_a_row_that_takes_long_holds_the_answer_a_second_and_comes_all_the_same(
    ground: Ground, customer: Customer
) -> None:
    async with ground.owner() as owner, owner.transaction():
        await owner.execute("LOCK TABLE audit IN ACCESS EXCLUSIVE MODE")
        assert await cancel(customer, str(uuid4()), **{"x-api-key": customer.key}) == "BATCH_NOT_FOUND"

    async def there() -> bool:
        return len(await logged(ground, customer.factory_id)) == 1

    await eventually(there)


async def test_whoever_hangs_up_is_logged_as_well(ground: Ground, customer: Customer) -> None:
    async with ground.owner() as owner, owner.transaction():
        await owner.execute("LOCK TABLE audit IN ACCESS EXCLUSIVE MODE")
        request = factory_pb2.CancelBatchRequest(request_id=str(uuid4()), batch_id=str(uuid4()))
        call = customer.stub.CancelBatch(request, timeout=20)
        waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query ~ 'INTO audit'"
        asked = asyncio.ensure_future(call)

        async def waits() -> bool:
            async with ground.owner() as other:
                return bool(await other.fetchval(waiting))

        await eventually(waits)
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked

    async def there() -> bool:
        return len(await logged(ground, customer.factory_id)) == 1

    await eventually(there)
