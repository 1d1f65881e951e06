"""Totals of a day: added with their scans, once, and told to whom they belong."""

import asyncio
from datetime import UTC, datetime

import grpc
import pytest
from voketag.scan.v1 import scan_pb2

from mesh.client import peer, with_api_key
from mesh.clock import SystemClock, new_id
from mesh.identity import ServiceTokens
from mesh.ledger import Ledger
from mesh.local.secrets import Secrets
from scan.event import make_row
from scan.journal import Journal
from scan.store import Store
from tests.fakes.chain_ledger import judge
from tests.integration.scan.calls import Stub, reason_of, verify
from tests.integration.scan.journals import World, envelope
from tests.integration.scan.test_scan_recorded import journal
from tests.integration.scan.test_scan_watch import Tenant, secrets, service, stranger, tenant, valkey
from tests.integration.scan.world import Database, Service, stub_of

__all__ = ["journal", "secrets", "service", "stranger", "tenant", "valkey"]
NOW = scan_pb2.GetTodayTotalsRequest()


async def test_what_comes_twice_is_added_once(world: World) -> None:
    factory_id = new_id()
    made = [envelope(factory_id=factory_id.bytes, facts={"verdict": verdict}) for verdict in (1, 1, 2)]
    rows = [make_row(one, judge, bytes(16)) for one in (*made, envelope(factory_id=None))]
    writer = Journal(Ledger("tests"))
    async with world.pool() as pool:
        for _ in range(2):
            async with pool.acquire() as connection:
                await writer.record(connection, rows)
        store, day = Store(pool), rows[0].at.date()
        assert await store.totals(day, factory_id) == {1: 2, 2: 1}
        assert await store.totals(day, None) == {1: 3, 2: 1}
        assert await store.totals(day, new_id()) == {}


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.usefixtures("journal")
async def test_totals_are_told_to_whom_they_belong(
    service: Service, database: Database, stub: Stub, tenant: Tenant, stranger: Tenant, secrets: Secrets
) -> None:
    batch = await database.batch(3, state="COMPLETED")
    tokens = ServiceTokens("admin", secrets.identity("admin").read_text(), SystemClock())
    async with (
        with_api_key(service.target, tenant.key) as mine,
        with_api_key(service.target, stranger.key) as theirs,
        peer(service.target, tokens=tokens, service="scan") as staff,
    ):
        before = await stub_of(mine).GetTodayTotals(NOW, timeout=10)
        for token in batch.tokens:
            await verify(stub, token)
        async with asyncio.timeout(20):
            while (after := await stub_of(mine).GetTodayTotals(NOW, timeout=10)).scans < before.scans + 3:
                await asyncio.sleep(0.05)
        assert (after.scans, after.day) == (before.scans + 3, f"{datetime.now(UTC):%Y-%m-%d}")
        assert [(one.verdict, one.scans) for one in after.verdicts] == [(scan_pb2.VERDICT_GENUINE_CODE, after.scans)]
        assert (await stub_of(theirs).GetTodayTotals(NOW, timeout=10)).scans == 0
        own = scan_pb2.GetTodayTotalsRequest(factory_id=str(tenant.factory_id))
        for request in (NOW, own):
            assert (await stub_of(staff).GetTodayTotals(request, timeout=10)).scans == after.scans
        for caller, request, reason in (
            (theirs, own, "ACCESS_DENIED"),
            (staff, scan_pb2.GetTodayTotalsRequest(factory_id="x"), "VALIDATION_FAILED"),
        ):
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await stub_of(caller).GetTodayTotals(request, timeout=10)
            assert reason_of(refused.value) == reason
