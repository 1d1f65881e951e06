"""Lives of products, through the door: every step, lists, batches, serial ranges, repeats, and what nobody may do."""

import asyncio
import re
from itertools import product
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import grpc
import pytest
import pytest_asyncio
from voketag.factory.v1 import factory_pb2, lifecycle_pb2, lifecycle_pb2_grpc
from voketag.factory.v1.lifecycle_pb2 import ChangeProductsRequest, ListProductEventsRequest, ProductIds, SerialRange

from factory.batch import ProductState
from factory.lifecycle import STRETCH
from mesh.client import with_api_key
from mesh.local.process import Child
from tests.fakes.final_anchor import FinalAnchor
from tests.integration.factory.world import (
    Customer,
    Door,
    Ground,
    Import,
    audit_detail,
    eventually,
    reason_of,
    rows,
    serving,
    working,
)
from tests.servers import free_port

pytestmark = pytest.mark.asyncio(loop_scope="module")
DOCUMENT = Path(__file__).parents[3] / "docs" / "factory.md"
Request = ChangeProductsRequest


class Lives:
    """A factory that changes its products."""

    def __init__(self, customer: Customer, channel: grpc.aio.Channel) -> None:
        self.customer = customer
        self.stub: Any = lifecycle_pb2_grpc.LifecycleServiceStub(channel)

    async def ask(self, request: Request) -> tuple[int, int, int]:
        """How many changed, were there already, and were refused."""
        answer = await self.stub.ChangeProducts(request, timeout=60)
        return answer.changed_count, answer.unchanged_count, answer.refused_count

    async def change(self, to_state: str, *ids: str, **more: Any) -> tuple[int, int, int]:
        """Changes a list, or what `more` selects."""
        if ids:
            more["ids"] = ProductIds(product_ids=ids)
        return await self.ask(Request(request_id=str(uuid4()), to_state=number(to_state), **more))

    async def state(self, product_id: str) -> str:
        got = await self.customer.stub.GetProduct(factory_pb2.GetProductRequest(product_id=product_id))
        return factory_pb2.ProductState.Name(got.product.state).removeprefix("PRODUCT_STATE_")

    async def events(self, product_id: str, page_size: int = 0) -> list[lifecycle_pb2.ProductEvent]:
        """Every event of a product, page by page."""
        found: list[lifecycle_pb2.ProductEvent] = []
        token = ""
        while True:
            request = ListProductEventsRequest(product_id=product_id, page_size=page_size, page_token=token)
            page = await self.stub.ListProductEvents(request, timeout=10)
            found.extend(page.events)
            token = page.next_page_token
            if not token:
                return found


def number(state: str) -> factory_pb2.ProductState.ValueType:
    return factory_pb2.ProductState.Value(f"PRODUCT_STATE_{state}")


def documented() -> set[tuple[str, str]]:
    """The legal steps as docs/factory.md has them."""
    section = DOCUMENT.read_text().split("## What becomes of products")[1].split("\n## ")[0]
    lines = re.findall(r"^\| ([A-Z]+) \| (.+) \|$", section, re.MULTILINE)
    return {(before, after) for before, states in lines for after in states.split(", ")}


@pytest_asyncio.fixture(loop_scope="module")
async def lives(customer: Customer) -> Any:
    async with with_api_key(customer.door.target, customer.key) as channel:
        yield Lives(customer, channel)


async def ordered(customer: Customer, count: int) -> list[str]:
    order = await customer.order(count, template={"brand": "Voke"}, return_products=True)
    assert {item.state for item in order.products} == {factory_pb2.PRODUCT_STATE_CREATED}
    return [item.product_id for item in order.products]


async def imported(customer: Customer, count: int) -> tuple[str, list[factory_pb2.Product]]:
    """A batch with serial numbers 00000000 and on, in uneven chunks, still open."""
    stream = await Import(customer, template={"brand": "Voke"}).open()
    for first in range(0, count, 1000):
        await stream.chunk(first, rows(min(1000, count - first), first))
    stream.call.cancel()
    return stream.batch_id, await customer.products(stream.batch_id)


async def test_steps_are_the_documented_ones(ground: Ground) -> None:
    async with ground.owner() as owner:
        found = await owner.fetch("SELECT from_state, to_state FROM product_transitions")
    steps = {(ProductState(row["from_state"]).name, ProductState(row["to_state"]).name) for row in found}
    assert steps == documented()
    assert [state.name for state in ProductState] == [
        name.removeprefix("PRODUCT_STATE_") for name in factory_pb2.ProductState.keys()[1:]
    ]


async def test_every_legal_step_is_made_and_every_other_refused(ground: Ground, lives: Lives) -> None:
    states = [state.name for state in ProductState]
    pairs = list(product(states, states[1:]))
    ids = await ordered(lives.customer, len(pairs))
    async with ground.owner() as owner:
        numbers = [ProductState[before].value for before, _ in pairs]
        await owner.execute(
            "UPDATE products SET state = new.state FROM unnest($1::uuid[], $2::smallint[]) AS new (id, state) "
            "WHERE product_id = new.id",
            ids,
            numbers,
        )
    for (before, after), product_id in zip(pairs, ids, strict=True):
        legal = (before, after) in documented()
        expected = (0, 1, 0) if before == after else (int(legal), 0, int(not legal))
        assert await lives.change(after, product_id) == expected, (before, after)
        assert await lives.state(product_id) == (after if legal else before)
        assert len(await lives.events(product_id)) == legal


@pytest.mark.parametrize("state", [0, 1, 10])
async def test_states_nobody_goes_to_break_the_contract(lives: Lives, state: int) -> None:
    ids = await ordered(lives.customer, 1)
    request: Any = {"request_id": str(uuid4()), "to_state": state, "ids": ProductIds(product_ids=ids)}
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await lives.ask(Request(**request))
    assert reason_of(error.value) == "VALIDATION_FAILED"


async def test_list_counts_each_product_once_and_all_are_the_callers(ground: Ground, door: Door, lives: Lives) -> None:
    ids = await ordered(lives.customer, 4)
    assert await lives.change("CONSUMED", ids[0]) == (1, 0, 0)
    assert await lives.change("SOLD", ids[1]) == (1, 0, 0)
    request = Request(request_id=str(uuid4()), to_state=number("SOLD"), note="Lote à venda")
    request.ids.product_ids.extend([*ids, ids[3].upper()])
    assert await lives.ask(request) == (2, 1, 1)
    async with door.customer() as other:
        foreign = await ordered(other, 1)
    for stranger in (*foreign, str(uuid4())):
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await lives.change("RECALLED", ids[1], stranger)
        assert (error.value.code(), reason_of(error.value)) == (grpc.StatusCode.NOT_FOUND, "PRODUCT_NOT_FOUND")
    assert await lives.state(ids[1]) == "SOLD"
    async with ground.owner() as owner:
        audits = await owner.fetch(
            "SELECT detail FROM audit WHERE result = 'OK' AND request_id = $1", request.request_id
        )
        counts = {"to_state": "SOLD", "changed": 2, "unchanged": 1, "refused": 1}
        assert [audit_detail(row) for row in audits] == [counts]


async def test_same_request_gives_the_same_counts_and_no_event(lives: Lives) -> None:
    ids = await ordered(lives.customer, 2)
    request = Request(request_id=str(uuid4()), to_state=number("SHIPPED"), ids=ProductIds(product_ids=ids))
    assert await lives.ask(request) == (2, 0, 0)
    assert await lives.change("SOLD", ids[0]) == (1, 0, 0)
    assert await lives.ask(request) == (2, 0, 0)
    assert await lives.state(ids[0]) == "SOLD"
    assert [len(await lives.events(product_id)) for product_id in ids] == [2, 1]
    request.note = "another"
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await lives.ask(request)
    assert reason_of(error.value) == "REQUEST_ID_REUSED"


async def test_batch_and_range_of_serial_numbers(lives: Lives) -> None:
    batch_id, products = await imported(lives.customer, 2300)
    ids = {item.attributes["serial"]: item.product_id for item in products}

    def some(first: str, last: str) -> SerialRange:
        return SerialRange(batch_id=batch_id, first=first, last=last)

    assert await lives.change("ACTIVATED", serials=some("00000998", "00002001")) == (1004, 0, 0)
    assert await lives.change("SOLD", serials=some("00001000", "00001000")) == (1, 0, 0)
    assert await lives.change("SOLD", serials=some("00000009", "00000000")) == (0, 0, 0)
    assert await lives.change("SOLD", serials=some("A", "z")) == (0, 0, 0)
    states = [await lives.state(ids[serial]) for serial in ("00000997", "00000998", "00002001", "00002002")]
    assert states == ["CREATED", "ACTIVATED", "ACTIVATED", "CREATED"]
    assert await lives.change("CONSUMED", ids["00000000"]) == (1, 0, 0)
    assert await lives.change("ACTIVATED", batch_id=batch_id) == (2300 - 1004 - 1, 1003, 2)
    listed = {item.product_id: item.state for item in await lives.customer.products(batch_id)}
    assert listed[ids["00001500"]] == factory_pb2.PRODUCT_STATE_ACTIVATED
    assert listed[ids["00000000"]] == factory_pb2.PRODUCT_STATE_CONSUMED


async def test_serial_number_of_the_template_counts(lives: Lives) -> None:
    order = await lives.customer.order(3, template={"serial": 'É"1'})
    batch_id = order.batch.batch_id
    whole = await lives.customer.order(3, template={"serial": 'É"1'}, return_products=True)
    wanted = SerialRange(batch_id=whole.batch.batch_id, first='É"1', last='É"1')
    assert await lives.change("SHIPPED", serials=wanted) == (3, 0, 0)
    assert await lives.change("SHIPPED", batch_id=batch_id) == (0, 0, 0), "none of it is issued yet"


async def test_batch_of_nobody_and_of_another_factory(door: Door, lives: Lives) -> None:
    async with door.customer() as other:
        foreign = await other.order(1, template={"brand": "Voke"}, return_products=True)
    for batch_id in (foreign.batch.batch_id, str(uuid4())):
        for selection in ({"batch_id": batch_id}, {"serials": SerialRange(batch_id=batch_id, first="0", last="9")}):
            with pytest.raises(grpc.aio.AioRpcError) as error:
                await lives.change("RECALLED", **selection)
            assert (error.value.code(), reason_of(error.value)) == (grpc.StatusCode.NOT_FOUND, "BATCH_NOT_FOUND")
    for product_id in (foreign.products[0].product_id, str(uuid4())):
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await lives.events(product_id)
        assert (error.value.code(), reason_of(error.value)) == (grpc.StatusCode.NOT_FOUND, "PRODUCT_NOT_FOUND")


@pytest.mark.parametrize(
    "broken",
    [
        {"note": "\x00", "batch_id": str(uuid4())},
        {"note": "x" * 301, "batch_id": str(uuid4())},
        {"serials": SerialRange(batch_id=str(uuid4()), first="\x00", last="9")},
        {"serials": SerialRange(batch_id=str(uuid4()), first="", last="9")},
        {"ids": ProductIds()},
        {"ids": ProductIds(product_ids=[str(uuid4())] * 1001)},
        {},
    ],
)
async def test_change_that_breaks_the_contract(lives: Lives, broken: dict[str, Any]) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await lives.change("SOLD", **broken)
    assert (error.value.code(), reason_of(error.value)) == (grpc.StatusCode.INVALID_ARGUMENT, "VALIDATION_FAILED")


async def test_events_are_listed_newest_first_by_page(lives: Lives) -> None:
    first, second = await ordered(lives.customer, 2)
    steps = ["ACTIVATED", *["RECALLED", "SOLD", "STOLEN", "SOLD"] * 3]
    for index, state in enumerate(steps):
        assert await lives.change(state, first, note=f"step {index}") == (1, 0, 0)
    events = await lives.events(first, page_size=4)
    assert events == await lives.events(first)
    assert [event.note for event in events] == [f"step {index}" for index in reversed(range(len(steps)))]
    assert [event.to_state for event in events] == [number(state) for state in reversed(steps)]
    assert [event.from_state for event in events] == [number(state) for state in reversed(["CREATED", *steps[:-1]])]
    moments = [event.event_time.ToMicroseconds() for event in events]
    assert moments == sorted(moments, reverse=True)
    assert len({event.actor for event in events}) == 1
    page = await lives.stub.ListProductEvents(ListProductEventsRequest(product_id=first, page_size=1))
    with pytest.raises(grpc.aio.AioRpcError) as error:
        request = ListProductEventsRequest(product_id=second, page_token=page.next_page_token)
        await lives.stub.ListProductEvents(request)
    assert reason_of(error.value) == "PAGE_TOKEN_INVALID"


async def test_changes_at_the_same_time_lose_no_step(lives: Lives) -> None:
    batch_id, products = await imported(lives.customer, 1000)
    ids = [item.product_id for item in products]
    changes = [
        lives.change("RECALLED" if index % 2 else "STOLEN", *(ids if index % 3 else reversed(ids)))
        for index in range(6)
    ]
    answers = await asyncio.gather(*changes, lives.change("RECALLED", batch_id=batch_id))
    assert all(sum(answer) == 1000 and not answer[2] for answer in answers)
    events = await lives.events(ids[500])
    assert len(events) == sum(answer[0] == 1000 for answer in answers)
    assert [event.from_state for event in events] == [*(event.to_state for event in events[1:]), number("CREATED")]


async def test_same_request_at_the_same_time_is_one_change(lives: Lives) -> None:
    batch_id, products = await imported(lives.customer, 1000)
    request = Request(request_id=str(uuid4()), to_state=number("SOLD"), batch_id=batch_id)
    assert set(await asyncio.gather(*[lives.ask(request) for _ in range(4)])) == {(1000, 0, 0)}
    assert len(await lives.events(products[0].product_id)) == 1


async def test_scans_are_told(ground: Ground, lives: Lives) -> None:
    batch_id, products = await imported(lives.customer, 3)
    ids = [item.product_id for item in products]
    heard: list[str] = []
    async with ground.owner() as owner:
        await owner.add_listener("factory_cards", lambda *notice: heard.append(str(notice[3])))
        await lives.change("SOLD", *ids[:2])
        await lives.change("SOLD", *ids[:2])
        await lives.change("SHIPPED", batch_id=batch_id)
        await owner.execute("SELECT 1")

        async def told() -> bool:
            return batch_id in heard

        await eventually(told)
    assert sorted(heard) == sorted([*ids[:2], batch_id])


async def test_single_product(lives: Lives) -> None:
    request = lifecycle_pb2.CreateProductRequest(request_id=str(uuid4()), attributes={"gtin": "4006381333931"})
    created = (await lives.stub.CreateProduct(request)).product
    got = await lives.customer.stub.GetProduct(factory_pb2.GetProductRequest(product_id=created.product_id))
    assert got.product == created == (await lives.stub.CreateProduct(request)).product
    assert created.attributes == {"gtin": "4006381333931"}
    batch = await lives.customer.batch(created.batch_id)
    assert (batch.product_count, batch.issued_count, created.index) == (1, 1, 0)
    request.attributes["gtin"] = "4006381333932"
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await lives.stub.CreateProduct(request)
    assert reason_of(error.value) == "VALIDATION_FAILED"
    assert "attributes: gtin" in str(error.value.details())


async def test_services_role_changes_the_state_alone(ground: Ground) -> None:
    service = await asyncpg.connect(ground.database.url("factory"), password=ground.database.server.password)
    try:
        for statement in (
            "UPDATE factory.products SET batch_id = gen_random_uuid()",
            "DELETE FROM factory.product_events",
            "UPDATE factory.product_events SET to_state = 0",
            "UPDATE factory.product_changes SET actor = ''",
            "INSERT INTO factory.product_transitions VALUES (4, 0)",
        ):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await service.execute(statement)
    finally:
        await service.close()


async def test_change_survives_kill_9_of_its_server(ground: Ground, anchor: FinalAnchor) -> None:
    total, port = 12 * STRETCH + 7, free_port()
    door = Door(ground, f"127.0.0.1:{port}")
    async with serving(ground, port), working(ground, anchor), door.customer() as customer:
        order = await customer.order(total, template={"brand": "Voke"})
        batch_id = order.batch.batch_id
        await customer.reached(batch_id, factory_pb2.BATCH_STATE_COMPLETED)
    request = Request(request_id=str(uuid4()), to_state=number("RECALLED"), batch_id=batch_id)
    async with serving(ground, port) as child:
        await _broken(ground, door, customer, request, child)
    async with serving(ground, port), with_api_key(door.target, customer.key) as channel:
        lives = Lives(customer, channel)
        assert await lives.ask(request) == (total, 0, 0)
        assert await lives.ask(request) == (total, 0, 0)
    async with ground.owner() as owner:
        query = "SELECT count(*), count(DISTINCT product_id) FROM products JOIN product_events USING (product_id) "
        found = await owner.fetchrow(f"{query} WHERE batch_id = $1 AND state = 5", batch_id)
        assert found is not None
        assert tuple(found) == (total, total)
        audits = await owner.fetch(
            "SELECT detail FROM audit WHERE result = 'OK' AND request_id = $1", request.request_id
        )
        assert sum(audit_detail(row)["changed"] for row in audits) == total


async def _broken(ground: Ground, door: Door, customer: Customer, request: Request, child: Child) -> None:
    """Begins a change and kills its server on the way."""
    async with with_api_key(door.target, customer.key) as channel, ground.owner() as owner:
        asking = asyncio.create_task(Lives(customer, channel).ask(request))

        async def under_way() -> bool:
            return bool(await owner.fetchval("SELECT next_index FROM product_changes WHERE batch_id = $1", batch))

        batch = request.batch_id
        await eventually(under_way, every=0.001)
        await child.kill()
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await asking
        assert error.value.code() is grpc.StatusCode.UNAVAILABLE
        row = await owner.fetchrow("SELECT next_index, end_index FROM product_changes WHERE batch_id = $1", batch)
        assert row is not None
        assert 0 < row["next_index"] < row["end_index"]
