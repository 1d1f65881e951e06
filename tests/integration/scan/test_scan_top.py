"""The products that were scanned most: exact whatever the order of their scans, and told to whom they belong."""

import asyncio
import random
from collections.abc import Sequence
from uuid import UUID

import grpc
import pytest
from voketag.scan.v1 import scan_pb2

from mesh.client import peer, with_api_key
from mesh.clock import SystemClock, new_id
from mesh.identity import ServiceTokens
from mesh.ledger import Ledger
from mesh.local.secrets import Secrets
from scan.event import Judged, Row, make_row
from scan.journal import TOP_KEPT, TOP_MOST, Journal
from scan.store import Store
from tests.integration.scan.calls import Stub, reason_of, verify
from tests.integration.scan.journals import World, envelope
from tests.integration.scan.test_scan_recorded import journal
from tests.integration.scan.test_scan_watch import Tenant, secrets, service, stranger, tenant, valkey
from tests.integration.scan.world import Database, Service, stub_of

__all__ = ["journal", "secrets", "service", "stranger", "tenant", "valkey"]
TOP = scan_pb2.ListTopProductsRequest(count=2)


def row(factory_id: UUID | None, product_id: UUID, count: int | None) -> Row:
    def judge(said: bytes, counts: bytes) -> Judged:
        return Judged(1, None, b"{}", 0, "", b"{}", scan_count=count)

    factory = factory_id.bytes if factory_id else None
    return make_row(envelope(factory_id=factory)._replace(product_id=product_id.bytes), judge, bytes(16))


async def write(world: World, groups: Sequence[Sequence[Row]]) -> None:
    writer = Journal(Ledger("tests"))
    async with world.pool() as pool, pool.acquire() as connection:
        for group in groups:
            await writer.record(connection, group)


async def test_the_list_is_exact_and_stays_small(world: World) -> None:
    rng, mine, other = random.Random(7), new_id(), new_id()
    totals = {new_id(): rng.choice([1, 1, 1, 2, 2, 3, 5, 9, rng.randrange(10, 60)]) for _ in range(900)}
    owners = {product: rng.choice([mine, other]) for product in totals}
    counted = dict.fromkeys(totals, 0)
    scans = [product for product, count in totals.items() for _ in range(count)]
    rng.shuffle(scans)
    rows = []
    for product in scans:
        counted[product] += 1
        rows.append(row(owners[product], product, counted[product]))
    await write(world, [rows[start : start + 250] for start in range(0, len(rows), 250)])
    async with world.pool() as pool:
        store = Store(pool)
        for factory_id in (mine, other, None):
            expected = [t for p, t in totals.items() if factory_id in (None, owners[p])]
            told = await store.top_products(factory_id, TOP_KEPT)
            assert [one.scans for one in told] == sorted(expected, reverse=True)[:TOP_KEPT]
            assert all((one.scans, one.factory_id) == (totals[one.product_id], owners[one.product_id]) for one in told)
    async with world.owner() as owner:
        sizes = await owner.fetch("SELECT count(*) FROM scan.top_products GROUP BY factory_id")
    assert max(size for (size,) in sizes) <= TOP_MOST


async def test_counts_never_fall_and_what_was_not_counted_is_no_scan(world: World) -> None:
    factory_id, product_id = new_id(), new_id()
    await write(world, [[row(factory_id, product_id, 7)], [row(factory_id, product_id, 3)]])
    await write(world, [[row(factory_id, product_id, None)], [row(None, new_id(), 90)], []])
    async with world.pool() as pool:
        told = await Store(pool).top_products(None, 5)
    assert [(one.product_id, one.scans) for one in told] == [(product_id, 7)]


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.usefixtures("journal")
async def test_the_list_is_told_to_whom_it_belongs(
    service: Service, database: Database, stub: Stub, tenant: Tenant, stranger: Tenant, secrets: Secrets
) -> None:
    batch = await database.batch(3, state="COMPLETED")
    ids = [str(product_id) for product_id in batch.product_ids]
    for token, times in zip(batch.tokens, (1, 3, 2), strict=True):
        for _ in range(times):
            await verify(stub, token)
    tokens = ServiceTokens("admin", secrets.identity("admin").read_text(), SystemClock())
    async with (
        with_api_key(service.target, tenant.key) as mine,
        with_api_key(service.target, stranger.key) as theirs,
        peer(service.target, tokens=tokens, service="scan") as staff,
    ):
        expected = [(ids[1], 3), (ids[2], 2)]
        async with asyncio.timeout(20):
            while await told(mine, TOP) != expected:
                await asyncio.sleep(0.05)
        assert await told(theirs, TOP) == []
        own = scan_pb2.ListTopProductsRequest(factory_id=str(tenant.factory_id), count=2)
        assert await told(staff, own) == await told(staff, TOP) == expected
        assert len(await told(mine, scan_pb2.ListTopProductsRequest())) == 3
        async with grpc.aio.insecure_channel(service.target) as nobody:
            for caller, request, reason in (
                (theirs, own, "ACCESS_DENIED"),
                (nobody, TOP, "CREDENTIALS_MISSING"),
                (staff, scan_pb2.ListTopProductsRequest(factory_id="x"), "VALIDATION_FAILED"),
                (staff, scan_pb2.ListTopProductsRequest(count=101), "VALIDATION_FAILED"),
                (staff, scan_pb2.ListTopProductsRequest(count=-1), "VALIDATION_FAILED"),
            ):
                with pytest.raises(grpc.aio.AioRpcError) as refused:
                    await told(caller, request)
                assert reason_of(refused.value) == reason


async def told(channel: grpc.aio.Channel, request: scan_pb2.ListTopProductsRequest) -> list[tuple[str, int]]:
    answer = await stub_of(channel).ListTopProducts(request, timeout=10)
    return [(one.product_id, one.scan_count) for one in answer.products]
