"""What arrives at factories' systems, and how often: a real receiver, real jobs, a schedule in a hurry."""

import asyncio
from collections.abc import AsyncIterator
from uuid import UUID, uuid4

import pytest
import pytest_asyncio
from aiohttp import web
from voketag.factory.v1 import factory_pb2
from voketag.factory.v1 import webhook_pb2 as pb

from mesh.client import with_api_key
from tests.fakes.final_anchor import PLACE, FinalAnchor
from tests.integration.factory.receivers import SOON, Hooks, delivering, hooks, receiving
from tests.integration.factory.test_lifecycle import Lives
from tests.integration.factory.world import Customer, Ground, eventually, working
from tests.servers import free_port

pytestmark = pytest.mark.asyncio(loop_scope="module")
PENDING, DELIVERED, FAILED, DROPPED = 1, 2, 3, 4


@pytest_asyncio.fixture(loop_scope="module")
async def mine(customer: Customer) -> AsyncIterator[Hooks]:
    async with hooks(customer) as mine:
        yield mine


async def test_delivery_is_signed_and_logged(ground: Ground, mine: Hooks) -> None:
    async with receiving() as receiver, delivering(ground):
        created = await mine.create(receiver.url)
        endpoint_id = created.endpoint.endpoint_id
        waiting = await mine.test(endpoint_id)
        assert (waiting.state, list(waiting.attempts)) == (PENDING, [])
        done = await mine.reached(endpoint_id, DELIVERED)
    (got,) = receiver.received
    assert got.verified(created.secret, created.endpoint.public_key)
    assert got.headers["content-type"] == "application/cloudevents+json; charset=utf-8"
    assert "authorization" not in got.headers
    event = got.event
    assert event.pop("time").endswith("Z")
    assert event == {
        "specversion": "1.0",
        "id": done.event_id,
        "source": f"https://voketag.com/factories/{mine.customer.factory_id}",
        "type": "webhook.test",
        "subject": f"endpoint/{endpoint_id}",
        "datacontenttype": "application/json",
        "data": {"endpointId": endpoint_id},
    }
    assert (got.id, UUID(got.id).version) == (done.event_id, 7)
    (attempt,) = done.attempts
    assert (attempt.status, attempt.error, attempt.answer) == (204, "", "")
    assert abs(int(got.headers["webhook-timestamp"]) - attempt.attempt_time.ToSeconds()) <= 1
    assert (done.delivery_id, done.event_type) == (waiting.delivery_id, pb.EVENT_TYPE_WEBHOOK_TEST)


async def test_failed_attempts_are_made_again_with_the_same_bytes(ground: Ground, mine: Hooks) -> None:
    async with receiving(500, 404, 302, 201) as receiver, delivering(ground):
        created = await mine.create(receiver.url)
        await mine.test(created.endpoint.endpoint_id)
        done = await mine.reached(created.endpoint.endpoint_id, DELIVERED)
    assert [attempt.status for attempt in done.attempts] == [201, 302, 404, 500]
    assert all(attempt.answer == "noted" for attempt in done.attempts)
    assert len({got.body for got in receiver.received}) == 1
    assert {got.id for got in receiver.received} == {done.event_id}
    assert all(got.verified(created.secret, created.endpoint.public_key) for got in receiver.received)
    assert not done.HasField("next_attempt_time")


async def test_receiver_that_is_not_there_yet(ground: Ground, mine: Hooks) -> None:
    port = free_port()
    async with delivering(ground, schedule=(0.1,) * 200):
        created = await mine.create(f"http://127.0.0.1:{port}/hook")
        endpoint_id = created.endpoint.endpoint_id
        await mine.test(endpoint_id)
        waiting = await mine.reached(endpoint_id, PENDING, attempts=2)
        assert {(attempt.status, attempt.error) for attempt in waiting.attempts} == {(0, "CONNECTION")}
        assert waiting.HasField("next_attempt_time")
        async with receiving(port=port) as receiver:
            await mine.reached(endpoint_id, DELIVERED)
    assert len(receiver.received) == 1


async def test_slow_answer_is_a_failure(ground: Ground, mine: Hooks) -> None:
    async def never(request: web.Request) -> web.StreamResponse:
        await asyncio.Event().wait()
        raise AssertionError

    async with receiving(never, 200) as receiver, delivering(ground, attempt_seconds=0.3):
        created = await mine.create(receiver.url)
        await mine.test(created.endpoint.endpoint_id)
        done = await mine.reached(created.endpoint.endpoint_id, DELIVERED)
    last, first = done.attempts
    assert (first.status, first.error, last.status) == (0, "TIMEOUT", 200)
    assert first.duration_ms >= 250


async def test_schedule_runs_out_and_replay_begins_it_again(ground: Ground, mine: Hooks) -> None:
    async with receiving(500) as receiver, delivering(ground, schedule=SOON[:2]):
        created = await mine.create(receiver.url)
        endpoint_id = created.endpoint.endpoint_id
        await mine.test(endpoint_id)
        failed = await mine.reached(endpoint_id, FAILED)
        assert len(failed.attempts) == len(receiver.received) == 3
        receiver.answers = [503, 200]
        request = pb.ReplayDeliveryRequest(request_id=str(uuid4()), delivery_id=failed.delivery_id)
        assert (await mine.stub.ReplayDelivery(request)).delivery.state == PENDING
        done = await mine.reached(endpoint_id, DELIVERED)
        assert (await mine.stub.ReplayDelivery(request)).delivery == done, "the same request again changes nothing"
        await mine.replay(failed.delivery_id)
        await receiver.got(6)
    assert [attempt.status for attempt in done.attempts] == [200, 503, 500, 500, 500]
    assert {got.id for got in receiver.received} == {failed.event_id}


async def test_replay_of_a_waiting_delivery_is_now_and_once(ground: Ground, mine: Hooks) -> None:
    async with receiving(500, 200) as receiver, delivering(ground, schedule=(3600.0,)):
        created = await mine.create(receiver.url)
        endpoint_id = created.endpoint.endpoint_id
        await mine.test(endpoint_id)
        waiting = await mine.reached(endpoint_id, PENDING, attempts=1)
        await mine.replay(waiting.delivery_id)
        await mine.reached(endpoint_id, DELIVERED)
        async with ground.owner() as owner:
            await owner.execute("UPDATE pgqueuer SET execute_after = now() WHERE entrypoint = 'webhook.deliver'")

            async def overtaken() -> bool:
                query = "SELECT count(*) FROM pgqueuer WHERE entrypoint = 'webhook.deliver' AND payload LIKE $1"
                return not await owner.fetchval(query, b"%" + UUID(waiting.delivery_id).bytes + b"%")

            await eventually(overtaken)
    assert len(receiver.received) == 2


async def test_410_disables_the_endpoint_and_drops_what_waits(ground: Ground, mine: Hooks) -> None:
    async with receiving(500, 410) as receiver:
        created = await mine.create(receiver.url)
        endpoint_id = created.endpoint.endpoint_id
        first = await mine.test(endpoint_id)
        async with delivering(ground, schedule=(0.3,) * 9):
            gone = await mine.reached(endpoint_id, FAILED)
            endpoint = await mine.endpoint(endpoint_id)
            assert endpoint.disable_reason == pb.DISABLE_REASON_GONE
            assert endpoint.HasField("disable_time")
            await mine.test(endpoint_id)
            dropped = await mine.reached(endpoint_id, DROPPED)
    assert gone.delivery_id == first.delivery_id
    assert [attempt.status for attempt in gone.attempts] == [410, 500]
    assert not dropped.attempts
    assert len(receiver.received) == 2


async def test_rotated_secret_signs_beside_the_old_one(ground: Ground, mine: Hooks) -> None:
    async with receiving() as receiver, delivering(ground):
        old = await mine.create(receiver.url)
        endpoint_id = old.endpoint.endpoint_id
        new = await mine.rotate(endpoint_id)
        assert new.secret != old.secret
        assert new.endpoint.public_key != old.endpoint.public_key
        assert new.endpoint.HasField("rotate_time")
        await mine.test(endpoint_id)
        (got,) = await receiver.got(1)
        assert got.verified(old.secret, old.endpoint.public_key)
        assert got.verified(new.secret, new.endpoint.public_key)
        async with ground.owner() as owner:
            query = "UPDATE webhook_endpoints SET retired = ARRAY[now() - interval '25 hours'] WHERE endpoint_id = $1"
            await owner.execute(query, endpoint_id)
        await mine.test(endpoint_id)
        later = (await receiver.got(2))[1]
    assert later.verified(new.secret, new.endpoint.public_key)
    assert not later.verified(old.secret, old.endpoint.public_key)
    assert len(later.headers["webhook-signature"].split()) == 2


async def test_endpoints_get_what_they_chose(ground: Ground, anchor: FinalAnchor, mine: Hooks) -> None:
    async with receiving() as everything, receiving() as some:
        await mine.create(everything.url)
        await mine.create(some.url, pb.EVENT_TYPE_ANCHOR_FINAL)
        async with working(ground, anchor):
            order = await mine.customer.order(3, name="Lote à prova")
            await everything.got(2)
            await some.got(1)
    batch = await mine.customer.batch(order.batch.batch_id)
    events = {got.event["type"]: got.event for got in everything.received}
    assert set(events) == {"batch.completed", "anchor.final"}
    assert events["batch.completed"]["subject"] == f"batch/{batch.batch_id}"
    assert events["batch.completed"]["data"] == {
        "batchId": batch.batch_id,
        "name": "Lote à prova",
        "productCount": 3,
        "root": batch.root.hex(),
    }
    assert events["anchor.final"]["data"] == {
        "batchId": batch.batch_id,
        "root": batch.root.hex(),
        "chainId": PLACE.chain_id,
        "contract": PLACE.contract,
        "transaction": PLACE.transaction,
        "blockNumber": PLACE.block_number,
    }
    assert [got.event for got in some.received] == [events["anchor.final"]]


async def test_batch_that_fails_is_told(ground: Ground, anchor: FinalAnchor, mine: Hooks) -> None:
    async with receiving() as receiver, ground.owner() as owner:
        await mine.create(receiver.url)
        batch_id = (await mine.customer.order(10)).batch.batch_id
        await owner.execute("UPDATE pgqueuer SET attempts = 8 WHERE entrypoint = 'batch.build'")
        async with working(ground, anchor):
            batch = await mine.customer.reached(batch_id, factory_pb2.BATCH_STATE_FAILED)
            (got,) = await receiver.got(1)
        await owner.execute("DELETE FROM pgqueuer WHERE entrypoint = 'batch.build'")
    assert got.event["type"] == "batch.failed"
    assert got.event["data"] == {"batchId": batch_id, "name": "batch", "failure": batch.failure}


async def test_changes_of_products_are_told_by_stretch(ground: Ground, mine: Hooks) -> None:
    order = await mine.customer.order(3, return_products=True)
    ids = [product.product_id for product in order.products]
    async with receiving() as receiver, delivering(ground):
        await mine.create(receiver.url)
        async with with_api_key(mine.customer.door.target, mine.customer.key) as channel:
            lives = Lives(mine.customer, channel)
            assert await lives.change("CONSUMED", ids[0]) == (1, 0, 0)
            assert await lives.change("SOLD", *ids) == (2, 0, 1)
            assert await lives.change("SOLD", *ids) == (0, 2, 1), "nothing changed, nothing is told"
            assert await lives.change("RECALLED", batch_id=order.batch.batch_id) == (2, 0, 1)
        await receiver.got(3)
    told = {got.event["data"]["toState"]: got.event["data"] for got in receiver.received}
    counts = {"changedCount": 2, "unchangedCount": 0, "refusedCount": 1}
    assert {key: told["SOLD"][key] for key in counts} == counts
    assert told["SOLD"]["productIds"] == sorted(ids[1:])
    assert "batchId" not in told["SOLD"]
    assert told["RECALLED"]["batchId"] == order.batch.batch_id
    assert "productIds" not in told["RECALLED"]
    assert len(receiver.received) == 3
