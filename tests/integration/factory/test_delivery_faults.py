"""Deliveries when something dies, hangs or is forbidden; and the log when it is old."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import grpc
import pytest
import pytest_asyncio
from aiohttp import web
from voketag.factory.v1 import factory_pb2
from voketag.factory.v1.lifecycle_pb2 import ChangeProductsRequest

from factory import tenants
from factory.lanes import WIDTH
from factory.lifecycle import STRETCH
from factory.store import Store
from mesh.client import with_api_key
from tests.fakes.final_anchor import FinalAnchor
from tests.integration.factory.receivers import Hooks, delivering, hooks, receiving
from tests.integration.factory.test_lifecycle import Lives, number
from tests.integration.factory.world import Customer, Door, Ground, eventually, serving, working
from tests.servers import free_port

pytestmark = pytest.mark.asyncio(loop_scope="module")
PENDING, DELIVERED, FAILED = 1, 2, 3


@pytest_asyncio.fixture(loop_scope="module")
async def mine(customer: Customer) -> AsyncIterator[Hooks]:
    async with hooks(customer) as mine:
        yield mine


async def test_worker_killed_before_the_log_delivers_again_under_one_id(
    ground: Ground, anchor: FinalAnchor, mine: Hooks
) -> None:
    async with receiving() as receiver, ground.owner() as owner, ground.owner() as watcher:
        created = await mine.create(receiver.url)
        endpoint_id = created.endpoint.endpoint_id
        await owner.execute("BEGIN")
        # Attempts are made, and none can be written down.
        await owner.execute("LOCK TABLE webhook_attempts IN EXCLUSIVE MODE")
        await mine.test(endpoint_id)
        async with working(ground, anchor) as child:
            await receiver.got(1)

            async def writing() -> bool:
                query = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'webhook_attempts'::regclass"
                return bool(await watcher.fetchval(query))

            await eventually(writing)
            await child.kill()
        await owner.execute("COMMIT")
        async with working(ground, anchor):
            done = await mine.reached(endpoint_id, DELIVERED)
    assert len(receiver.received) == 2
    assert {got.id for got in receiver.received} == {done.event_id}
    assert len({got.body for got in receiver.received}) == 1
    assert len(done.attempts) == 1, "of an attempt that was not written down nobody knows"


async def test_change_whose_server_is_killed_is_told_whole_and_never_twice(ground: Ground, anchor: FinalAnchor) -> None:
    total, port = 8 * STRETCH + 3, free_port()
    door = Door(ground, f"127.0.0.1:{port}")
    async with receiving() as receiver, working(ground, anchor):
        async with serving(ground, port), door.customer() as customer, hooks(customer) as mine:
            batch_id = (await customer.order(total)).batch.batch_id
            await customer.reached(batch_id, factory_pb2.BATCH_STATE_COMPLETED)
            await mine.create(receiver.url, 4)
        request = ChangeProductsRequest(request_id=str(uuid4()), to_state=number("SOLD"), batch_id=batch_id)
        async with serving(ground, port) as child, with_api_key(door.target, customer.key) as channel:
            asking = asyncio.create_task(Lives(customer, channel).ask(request))
            await receiver.got(1)
            await child.kill()
            with pytest.raises(grpc.aio.AioRpcError):
                await asking
        async with serving(ground, port), with_api_key(door.target, customer.key) as channel:
            assert await Lives(customer, channel).ask(request) == (total, 0, 0)

        async def whole() -> bool:
            told = {got.id: got.event["data"]["changedCount"] for got in receiver.received}
            assert sum(told.values()) <= total
            return sum(told.values()) == total

        await eventually(whole)


async def test_delivery_whose_workers_die_is_given_up(ground: Ground, anchor: FinalAnchor, mine: Hooks) -> None:
    async with receiving() as receiver, ground.owner() as owner:
        endpoint_id = (await mine.create(receiver.url)).endpoint.endpoint_id
        await mine.test(endpoint_id)
        await owner.execute("UPDATE pgqueuer SET attempts = 8 WHERE entrypoint = 'webhook.deliver'")
        async with working(ground, anchor):
            failed = await mine.reached(endpoint_id, FAILED)
            assert [attempt.error for attempt in failed.attempts] == ["WORKER_DIED"]
            assert not receiver.received
            await mine.replay(failed.delivery_id)
            await mine.reached(endpoint_id, DELIVERED)
        await owner.execute("DELETE FROM pgqueuer WHERE entrypoint = 'webhook.deliver'")


async def test_worker_without_leave_calls_no_private_address(ground: Ground, anchor: FinalAnchor, mine: Hooks) -> None:
    async with receiving() as receiver:
        for host in ("127.0.0.1", "localhost"):
            endpoint_id = (await mine.create(f"https://{host}:{receiver.port}/")).endpoint.endpoint_id
            await mine.test(endpoint_id)
            async with working(ground, anchor, WEBHOOK_ALLOW_PRIVATE=0):
                waiting = await mine.reached(endpoint_id, PENDING, attempts=1)
            assert [attempt.error for attempt in waiting.attempts] == ["ADDRESS_REFUSED"]
            assert waiting.HasField("next_attempt_time")
    assert not receiver.received


async def test_slow_endpoint_leaves_room_for_others(ground: Ground, mine: Hooks) -> None:
    release, at_once, most = asyncio.Event(), 0, 0

    async def slow(request: web.Request) -> web.StreamResponse:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        await release.wait()
        at_once -= 1
        return web.Response(status=204)

    async with receiving(slow) as hanging, receiving() as quick, delivering(ground):
        endpoint_id = (await mine.create(hanging.url)).endpoint.endpoint_id
        other = (await mine.create(quick.url)).endpoint.endpoint_id
        for _ in range(WIDTH + 4):
            await mine.test(endpoint_id)
        await hanging.got(WIDTH)
        await mine.test(other)
        await mine.reached(other, DELIVERED)
        assert len(hanging.received) == most == WIDTH
        release.set()
        await hanging.got(WIDTH + 4)

        async def all_delivered() -> bool:
            return len(await mine.deliveries(endpoint_id, state=DELIVERED)) == WIDTH + 4

        await eventually(all_delivered)
    assert all(len(delivery.attempts) == 1 for delivery in await mine.deliveries(endpoint_id))


async def test_old_log_is_removed_and_what_waits_is_kept(ground: Ground, mine: Hooks) -> None:
    async with receiving(200, 200, 500) as receiver, delivering(ground, schedule=(3600.0,)):
        endpoint_id = (await mine.create(receiver.url)).endpoint.endpoint_id
        for count in range(1, 4):
            await mine.test(endpoint_id)
            await receiver.got(count)
        await mine.reached(endpoint_id, PENDING, attempts=1)
    kept = await mine.deliveries(endpoint_id)
    pool = await tenants.connect(ground.database.settings("factory"))
    store = Store(pool)

    async def forget(before: datetime, limit: int) -> int:
        async with store.transaction(tenants.EVERY) as connection:
            return await store.forget_events(connection, before, limit)

    now = datetime.now(UTC)
    assert await forget(now - timedelta(hours=1), 100) == 0
    assert await mine.deliveries(endpoint_id) == kept
    while await forget(now + timedelta(hours=1), 1):
        pass
    assert await mine.deliveries(endpoint_id) == kept[:1]
    async with ground.owner() as owner:
        for table in ("webhook_events", "webhook_attempts"):
            query = f"SELECT count(*) FROM {table} WHERE factory_id = $1"
            assert await owner.fetchval(query, mine.customer.factory_id) == 1
    pool.terminate()
