"""Imports at once: counted over all processes, kept alive, ended by a crash, and counted without Valkey."""

import dataclasses
from pathlib import Path

import grpc
import pytest

from factory.quotas import BLOCK
from tests.integration.factory.meters import lease_end, leases, refused, retry_seconds, set_quota, usage
from tests.integration.factory.world import Customer, Door, Ground, Import, eventually, reason_of, rows, serving
from tests.servers import ValkeyAddress, free_port, start_valkey

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_imports_at_once_are_counted_by_all_processes(ground: Ground, gate: Door, buyer: Customer) -> None:
    async with ground.server(concurrent_imports=2) as other, other.returning(buyer.factory_id, buyer.key) as elsewhere:
        first, second = await Import(buyer).open(), await Import(elsewhere).open()
        assert (await usage(buyer)).imports_now == (await usage(elsewhere)).imports_now == 2
        for customer in (buyer, elsewhere):
            with pytest.raises(grpc.aio.AioRpcError) as error:
                await Import(customer).open()
            refused(error.value, "concurrent_imports", 2, 2)
            assert 0 < retry_seconds(error.value) < 60
        async with gate.customer() as neighbour:
            await (await Import(neighbour).open()).chunk(0, rows(1))
        await first.chunk(0, rows(5))
        await first.end(5)
        third = await Import(elsewhere).open()
        second.call.cancel()

        async def one_left() -> bool:
            return (await usage(buyer)).imports_now == 1

        await eventually(one_left)
        await third.chunk(0, rows(5))
        await third.end(5)
        assert (await usage(elsewhere)).imports_now == 0
    assert (await set_quota(gate, buyer, concurrent_imports=0)).concurrent_imports == 0
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await Import(buyer).open()
    refused(error.value, "concurrent_imports", 0, 0)


async def test_leases_of_a_dead_server_end_and_its_block_stays_charged(ground: Ground) -> None:
    dying = Door(ground, f"127.0.0.1:{(port := free_port())}")
    async with (
        serving(ground, port, CONCURRENT_IMPORTS=1, IMPORT_LEASE_SECONDS=1.5) as child,
        dying.customer() as customer,
    ):
        stream = await Import(customer).open()
        for first in range(0, 4_000, 1_000):
            await stream.chunk(first, rows(1_000, first))
        first_end = await lease_end(ground.valkey.url, customer)

        async def renewed() -> bool:
            return await lease_end(ground.valkey.url, customer) >= first_end + 1_500

        await eventually(renewed)  # the lease is held while the stream lives, also after it would have ended
        assert (await usage(customer)).imports_now == 1
        await child.kill()
    async with ground.server(concurrent_imports=1) as door, door.returning(customer.factory_id, customer.key) as heir:
        reasons: set[str] = set()

        async def reopened() -> Import | None:
            try:
                return await Import(heir, stream.request_id).open()
            except grpc.aio.AioRpcError as error:
                reasons.add(reason_of(error))
                return None

        again = await eventually(reopened, within=10, every=0.25)
        assert again is not None
        assert reasons == {"QUOTA_EXCEEDED"}
        assert again.next_row == 4_000
        assert (await again.end(4_000)).product_count == 4_000
        assert 4_000 < (await usage(heir)).products_today <= 4_000 + BLOCK


async def test_without_valkey_each_process_counts_its_own(ground: Ground, tmp_path: Path) -> None:
    valkey = await start_valkey(tmp_path)
    alone = dataclasses.replace(ground, valkey=ValkeyAddress(valkey.url))
    async with alone.server(concurrent_imports=2, import_lease_seconds=0.6) as door, door.customer() as customer:
        first = await Import(customer).open()
        await valkey.stop()
        second = await Import(customer).open()
        assert (await usage(customer)).imports_now == 2
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await Import(customer).open()
        refused(error.value, "concurrent_imports", 2, 2)
        await valkey.start()

        async def counted_again() -> bool:
            return len(await leases(valkey.url, customer)) == 2

        await eventually(counted_again)
        for stream in (first, second):
            await stream.chunk(0, rows(3))
            await stream.end(3)
        assert (await usage(customer)).imports_now == 0
    await valkey.stop()
