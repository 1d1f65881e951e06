"""The worker as a process of its own: from the order to the chain, through the absence of anyone."""

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from uuid import uuid4

import asyncpg
import grpc
import jwt
import pytest
import pytest_asyncio
from voketag.anchor.v1 import anchor_pb2
from voketag.factory.v1 import factory_pb2

from mesh.local.process import Child
from tests.fakes.final_anchor import PLACE, FinalAnchor
from tests.integration.factory.world import Customer, Ground, Import, eventually, reason_of, rows, verify_batch, working
from trust import canonical, merkle
from trust.tiles import inclusion_path_from_tiles, tiles_needed

pytestmark = pytest.mark.asyncio(loop_scope="module")
COMPLETED = factory_pb2.BATCH_STATE_COMPLETED
FAILED = factory_pb2.BATCH_STATE_FAILED


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def worker(ground: Ground, anchor: FinalAnchor) -> AsyncIterator[Child]:
    async with working(ground, anchor) as child:
        yield child


@pytest.mark.usefixtures("worker")
async def test_ordered_batch_is_issued_built_anchored_and_completed(
    ground: Ground, anchor: FinalAnchor, customer: Customer
) -> None:
    order = await customer.order(12_345, template={"brand": "Voke"})
    batch_id = order.batch.batch_id
    batch = await customer.reached(batch_id, COMPLETED)
    verify_batch(ground, batch, await customer.products(batch_id))
    submitted = anchor.submitted[batch_id]
    assert (submitted.root, submitted.size) == (batch.root, 12_345)
    assert batch.anchor.chain_id == PLACE.chain_id
    assert batch.anchor.contract == PLACE.contract
    assert batch.anchor.transaction == PLACE.transaction
    assert batch.anchor.block_number == PLACE.block_number
    claims = jwt.decode(anchor.credentials.pop().removeprefix("Bearer "), options={"verify_signature": False})
    assert (claims["iss"], claims["aud"]) == ("factory", "anchor")
    async with ground.owner() as owner:
        assert await owner.fetchval("SELECT count(*) FROM pgqueuer WHERE status = 'failed'") == 0


@pytest.mark.usefixtures("worker")
@pytest.mark.parametrize("count", [1, 255, 256, 257, 1000])
async def test_imports_and_returned_batches_are_completed(ground: Ground, customer: Customer, count: int) -> None:
    stream = await Import(customer).open()
    for first in range(0, count, 100):
        await stream.chunk(first, rows(min(100, count - first), first))
    await stream.end(count)
    order = await customer.order(count, template={"brand": "Voke"}, return_products=True)
    for batch_id in (stream.batch_id, order.batch.batch_id):
        batch = await customer.reached(batch_id, COMPLETED)
        verify_batch(ground, batch, await customer.products(batch_id))


@pytest.mark.usefixtures("worker")
async def test_card_has_the_tiles_of_its_product(ground: Ground, customer: Customer) -> None:
    order = await customer.order(66_000, template={"brand": "Voke"})
    batch = await customer.reached(order.batch.batch_id, COMPLETED)
    scan = await asyncpg.connect(ground.database.url("scan"), password=ground.database.server.password)
    try:
        for index in (0, 255, 256, 40_000, 65_535, 65_536, 65_999):
            product_id = await _product_at(ground, batch.batch_id, index)
            card = await scan.fetchrow("SELECT * FROM factory.product_cards WHERE product_id = $1", product_id)
            assert card is not None
            assert (card["product_index"], card["tree_size"], card["batch_root"]) == (index, 66_000, batch.root)
            places = zip(card["tile_levels"], card["tile_indexes"], strict=True)
            tiles = dict(zip(places, card["tile_hashes"], strict=True))
            assert set(tiles_needed(index, 66_000)) <= set(tiles)
            path = inclusion_path_from_tiles(index, 66_000, partial(_tile, tiles))
            digest = canonical.attributes_digest(card["attributes"])
            leaf = canonical.product_leaf(card["batch_id"].bytes, index, product_id.bytes, digest)
            assert merkle.verify_inclusion(merkle.leaf_hash(leaf), index, 66_000, path, batch.root)
        plan = await scan.fetch(
            "EXPLAIN SELECT kid, batch_state FROM factory.product_cards WHERE product_id = ANY($1)",
            [product_id],
        )
        assert "tiles" not in "\n".join(row[0] for row in plan)
    finally:
        await scan.close()


def _tile(tiles: dict[tuple[int, int], bytes], level: int, number: int) -> bytes:
    return tiles[level, number]


async def _product_at(ground: Ground, batch_id: str, index: int) -> asyncpg.pgproto.pgproto.UUID:
    async with ground.owner() as owner:
        return await owner.fetchval(
            "SELECT product_id FROM products WHERE batch_id = $1 AND index = $2", batch_id, index
        )


@pytest.mark.usefixtures("worker")
async def test_watcher_sees_every_stage_and_then_the_end(anchor: FinalAnchor, customer: Customer) -> None:
    stream = await Import(customer).open()
    states: list[int] = []
    counts: list[int] = []

    async def watch() -> None:
        call = customer.stub.WatchBatch(factory_pb2.WatchBatchRequest(batch_id=stream.batch_id))
        async for answer in call:
            states.append(answer.batch.state)
            counts.append(answer.batch.issued_count)

    watching = asyncio.create_task(watch())
    await eventually(lambda: _soon(bool(states)))
    await stream.chunk(0, rows(1000))
    await eventually(lambda: _soon(counts[-1] == 1000), within=1.5)
    await stream.end(1000)
    await asyncio.wait_for(watching, 20)
    assert states[0] == factory_pb2.BATCH_STATE_RECEIVING
    assert states[-1] == COMPLETED
    assert states == sorted(states)
    assert counts == sorted(counts)


async def _soon(value: bool) -> bool:
    return value


async def test_watcher_of_a_finished_batch_gets_it_once(customer: Customer) -> None:
    batch_id = (await Import(customer).open()).batch_id
    await customer.stub.CancelBatch(factory_pb2.CancelBatchRequest(request_id=str(uuid4()), batch_id=batch_id))
    call = customer.stub.WatchBatch(factory_pb2.WatchBatchRequest(batch_id=batch_id))
    assert [answer.batch.state async for answer in call] == [factory_pb2.BATCH_STATE_CANCELLED]


@pytest.mark.usefixtures("worker")
async def test_batch_waits_for_an_anchor_that_is_away(ground: Ground, anchor: FinalAnchor, customer: Customer) -> None:
    await anchor.stop()
    batch_id = (await customer.order(10)).batch.batch_id
    await customer.reached(batch_id, factory_pb2.BATCH_STATE_ANCHORING)
    async with ground.owner() as owner:

        async def waits() -> bool:
            query = "SELECT count(*) FROM pgqueuer WHERE entrypoint = 'batch.submit' AND execute_after > created"
            return bool(await owner.fetchval(query))

        await eventually(waits)
        assert await owner.fetchval("SELECT max(attempts) FROM pgqueuer WHERE entrypoint = 'batch.submit'") <= 1
    await anchor.start()
    await customer.reached(batch_id, COMPLETED)


@pytest.mark.usefixtures("worker")
async def test_root_that_conflicts_fails_the_batch_and_says_why(anchor: FinalAnchor, customer: Customer) -> None:
    stream = await Import(customer).open()
    await stream.chunk(0, rows(3))
    anchor.submitted[stream.batch_id] = anchor_pb2.SubmitRootRequest(
        batch_id=stream.batch_id, root=b"another root".ljust(32), size=3
    )
    await stream.end(3)
    batch = await customer.reached(stream.batch_id, FAILED)
    assert stream.batch_id in batch.failure


@pytest.mark.usefixtures("worker")
async def test_cancelling_stops_the_issuing(ground: Ground, customer: Customer) -> None:
    batch_id = (await customer.order(1_000_000)).batch.batch_id

    async def issuing() -> bool:
        return (await customer.batch(batch_id)).issued_count > 0

    await eventually(issuing)
    cancel = factory_pb2.CancelBatchRequest(request_id=str(uuid4()), batch_id=batch_id)
    cancelled = (await customer.stub.CancelBatch(cancel)).batch
    assert 0 < cancelled.issued_count < 1_000_000
    async with ground.owner() as owner:

        async def left_alone() -> bool:
            payload = customer.factory_id.bytes + asyncpg.pgproto.pgproto.UUID(batch_id).bytes
            return not await owner.fetchval("SELECT count(*) FROM pgqueuer WHERE payload = $1", payload)

        await eventually(left_alone)
        assert (await customer.batch(batch_id)).issued_count == cancelled.issued_count
        query = "SELECT count(*) FROM products WHERE batch_id = $1"
        assert await owner.fetchval(query, batch_id) == cancelled.issued_count


async def test_watchers_are_sent_away_when_the_server_drains(ground: Ground) -> None:
    async with ground.server() as door, door.customer() as customer:
        stream = await Import(customer).open()
        call = customer.stub.WatchBatch(factory_pb2.WatchBatchRequest(batch_id=stream.batch_id))
        assert (await call.read()).batch.batch_id == stream.batch_id
        assert door.server is not None
        stopping = asyncio.create_task(door.server.stop())
        for read in (call.read, stream.read):
            with pytest.raises(grpc.aio.AioRpcError) as error:
                await read()
            assert reason_of(error.value) == "SHUTTING_DOWN"
        await stopping
