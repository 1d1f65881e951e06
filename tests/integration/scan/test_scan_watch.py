"""WatchScans through the door: who sees what, also while Valkey is away; idle watchers; and what is refused."""

import asyncio
import base64
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import grpc
import pytest
import pytest_asyncio
from voketag.scan.v1 import scan_pb2, scan_pb2_grpc

from mesh.api_keys import secret_hash
from mesh.client import peer, with_api_key
from mesh.clock import SystemClock, new_id
from mesh.identity import ServiceTokens
from mesh.local.secrets import Secrets
from mesh.local.valkey import ValkeyServer
from tests.fakes.anchor import FakeAnchor
from tests.integration.scan.calls import GENUINE, Stub, reason_of, verify
from tests.integration.scan.conftest import ONCE
from tests.integration.scan.test_scan_recorded import journal
from tests.integration.scan.test_scan_stream_faults import resident
from tests.integration.scan.world import Database, Service, anywhere, connected, stub_of
from tests.servers import start_valkey

__all__ = ["journal"]
pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.usefixtures("journal")]
IDLE, IDLE_BYTES = 1_000, 150_000
NOW = scan_pb2.WatchScansRequest()


@pytest_asyncio.fixture(**ONCE)
async def valkey(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ValkeyServer]:
    """One of its own: it is taken away, and a journal takes whatever is in the stream."""
    server = await start_valkey(tmp_path_factory.mktemp("valkey"))
    yield server
    await server.stop()


@pytest_asyncio.fixture(**ONCE)
async def secrets(tmp_path_factory: pytest.TempPathFactory) -> Secrets:
    secrets = Secrets(tmp_path_factory.mktemp("secrets"), os.urandom)
    secrets.make()
    return secrets


@pytest_asyncio.fixture(**ONCE)
async def service(
    database: Database,
    valkey: ValkeyServer,
    anchor: FakeAnchor,
    secrets: Secrets,
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[Service]:
    folder: Path = tmp_path_factory.mktemp("scan")
    service = Service(folder, database, valkey.url, anchor.target, VOKETAG_JWKS=secrets.jwks.read_text())
    await service.start()
    yield service
    await service.stop()


@dataclass(frozen=True)
class Tenant:
    factory_id: UUID
    key_id: UUID
    key: str


async def open_account(database: Database, factory_id: UUID) -> Tenant:
    """A key, as the factory keeps it."""
    key_id, prefix = new_id(), base64.b32encode(os.urandom(5)).decode().lower()
    secret = base64.urlsafe_b64encode(os.urandom(32)).decode().rstrip("=")
    async with connected(database.owner_dsn) as owner:
        query = "INSERT INTO factory.factories (factory_id, name) VALUES ($1, 'F') ON CONFLICT DO NOTHING"
        await owner.execute(query, factory_id)
        query = "INSERT INTO factory.api_keys (key_id, factory_id, prefix, secret_hash) VALUES ($1, $2, $3, $4)"
        await owner.execute(query, key_id, factory_id, prefix, secret_hash(secret))
    return Tenant(factory_id, key_id, f"vk_{prefix}_{secret}")


@pytest_asyncio.fixture(**ONCE)
async def tenant(database: Database) -> Tenant:
    return await open_account(database, database.factory_id)


@pytest_asyncio.fixture(**ONCE)
async def stranger(database: Database) -> Tenant:
    return await open_account(database, new_id())


async def seen(call: Any, count: int) -> list[scan_pb2.LiveScan]:
    found: list[scan_pb2.LiveScan] = []
    async with asyncio.timeout(20):
        while len(found) < count:
            found += (await read(call)).scans
    return found


async def read(call: Any) -> scan_pb2.WatchScansResponse:
    answer: scan_pb2.WatchScansResponse = await call.read()
    return answer


async def opened(call: Any) -> bool:
    """Whether a call was let in; only its budget may keep it out."""
    try:
        await call.read()
    except grpc.aio.AioRpcError as error:
        if reason_of(error) != "RATE_LIMITED":
            raise
        return False
    return True


async def lets_in(channel: grpc.aio.Channel) -> bool:
    try:
        await stub_of(channel).GetTodayTotals(scan_pb2.GetTodayTotalsRequest(), timeout=10)
    except grpc.aio.AioRpcError as error:
        if reason_of(error) != "CREDENTIALS_INVALID":
            raise
        return False
    return True


def size_of(service: Service) -> int:
    assert service.child.pid is not None
    return resident(service.child.pid)


async def test_a_factory_sees_its_scans_and_nobody_else_s(
    service: Service, database: Database, stub: Stub, tenant: Tenant, stranger: Tenant, secrets: Secrets
) -> None:
    batch = await database.batch(3, state="COMPLETED")
    tokens = ServiceTokens("admin", secrets.identity("admin").read_text(), SystemClock())
    async with (
        with_api_key(service.target, tenant.key) as mine,
        with_api_key(service.target, stranger.key) as theirs,
        peer(service.target, tokens=tokens, service="scan") as staff,
    ):
        own = stub_of(mine).WatchScans(NOW)
        other = stub_of(theirs).WatchScans(NOW)
        every = stub_of(staff).WatchScans(NOW)
        one = stub_of(staff).WatchScans(scan_pb2.WatchScansRequest(factory_id=str(tenant.factory_id)))
        for call in (own, other, every, one):
            assert not (await read(call)).scans, "the first answer comes at once"
        caller = (*anywhere(), ("x-client-place", "US"))
        answers = [await verify(stub, token, metadata=caller) for token in batch.tokens]
        for call in (own, every, one):
            for scan, answer, product_id in zip(await seen(call, 3), answers, batch.product_ids, strict=True):
                assert (scan.verdict, scan.risk) == (answer.verdict, answer.risk.total)
                assert (scan.product_id, scan.batch_id) == (str(product_id), str(batch.batch_id))
                assert (scan.factory_id, scan.country_code) == (str(tenant.factory_id), "US")
                assert scan.leading_factor == scan_pb2.RISK_FACTOR_NAME_MARKET
        for call in (own, every, one):
            call.cancel()
        # Another scan would have come by now: whoever watches the other factory has seen nothing.
        last = stub_of(theirs).WatchScans(scan_pb2.WatchScansRequest(after=-1))
        assert not (await read(last)).scans
        other.cancel()
        last.cancel()


async def test_scans_are_watched_while_valkey_is_away(
    service: Service, database: Database, stub: Stub, tenant: Tenant, valkey: ValkeyServer
) -> None:
    batch = await database.batch(3, state="COMPLETED")
    async with with_api_key(service.target, tenant.key) as channel:
        call = stub_of(channel).WatchScans(NOW)
        await call.read()
        await verify(stub, batch.tokens[0])
        (before,) = await seen(call, 1)
        assert before.HasField("risk")
        await valkey.kill()
        assert (await verify(stub, batch.tokens[1])).verdict == GENUINE
        (away,) = await seen(call, 1)
        assert (away.product_id, away.HasField("risk")) == (str(batch.product_ids[1]), False)
        await valkey.start()
        async with asyncio.timeout(20):
            while (await verify(stub, batch.tokens[2])).degraded:
                await asyncio.sleep(0.05)
            while not (await seen(call, 1))[0].HasField("risk"):
                pass
        call.cancel()


async def test_what_is_refused(
    service: Service, database: Database, tenant: Tenant, stranger: Tenant, secrets: Secrets
) -> None:
    async def reason(request: scan_pb2.WatchScansRequest, metadata: tuple[tuple[str, str], ...]) -> str:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await plain.WatchScans(request, metadata=metadata, timeout=10).read()
        return reason_of(refused.value)

    def signed(name: str) -> tuple[tuple[str, str], ...]:
        tokens = ServiceTokens(name, secrets.identity(name).read_text(), SystemClock())
        return (("authorization", f"Bearer {tokens.token('scan')}"),)

    async with grpc.aio.insecure_channel(service.target) as channel:
        plain: scan_pb2_grpc.ScanServiceAsyncStub = stub_of(channel)
        mine = (("x-api-key", tenant.key),)
        assert await reason(NOW, ()) == "CREDENTIALS_MISSING"
        assert await reason(NOW, (("x-api-key", tenant.key[:-1] + "."),)) == "CREDENTIALS_INVALID"
        assert await reason(NOW, signed("factory")) == "ACCESS_DENIED"
        others = scan_pb2.WatchScansRequest(factory_id=str(stranger.factory_id))
        assert await reason(others, mine) == "ACCESS_DENIED"
        assert await reason(scan_pb2.WatchScansRequest(factory_id="x"), mine) == "VALIDATION_FAILED"
        assert await reason(scan_pb2.WatchScansRequest(after=-2), mine) == "VALIDATION_FAILED"
        assert await reason(scan_pb2.WatchScansRequest(after=1 << 40), mine) == "POSITION_LOST"
        ended = await open_account(database, new_id())
        async with connected(database.owner_dsn) as owner:
            await owner.execute("UPDATE factory.api_keys SET revoked_at = now() WHERE key_id = $1", ended.key_id)
        assert await reason(NOW, (("x-api-key", ended.key),)) == "CREDENTIALS_INVALID"


async def test_a_key_that_is_revoked_meanwhile_is_told_no_more(
    service: Service, database: Database, stub: Stub, tenant: Tenant
) -> None:
    batch = await database.batch(2, state="COMPLETED")
    ended = await open_account(database, database.factory_id)
    async with with_api_key(service.target, ended.key) as theirs, with_api_key(service.target, tenant.key) as mine:
        calls = [stub_of(channel).WatchScans(NOW) for channel in (theirs, mine)]
        for call in calls:
            await call.read()
        await verify(stub, batch.tokens[0])
        for call in calls:
            await seen(call, 1)
        async with connected(database.owner_dsn) as owner:
            await owner.execute("UPDATE factory.api_keys SET revoked_at = now() WHERE key_id = $1", ended.key_id)
        async with asyncio.timeout(20):
            while await lets_in(theirs):
                await asyncio.sleep(0.05)
        await verify(stub, batch.tokens[1])
        assert [scan.product_id for scan in await seen(calls[1], 1)] == [str(batch.product_ids[1])]
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await read(calls[0])
        assert reason_of(refused.value) == "CREDENTIALS_INVALID"
        calls[1].cancel()


async def test_idle_watchers_cost_little_and_leave_nothing(service: Service, tenant: Tenant) -> None:
    sizes = []
    async with with_api_key(service.target, tenant.key) as channel:
        for _ in range(2):
            calls: list[Any] = []
            before = size_of(service)
            while len(calls) < IDLE:
                call = stub_of(channel).WatchScans(NOW)
                if await opened(call):
                    calls.append(call)
                else:
                    await asyncio.sleep(0.05)
            sizes.append(size_of(service) - before)
            for call in calls:
                call.cancel()
            await asyncio.wait([asyncio.ensure_future(call.code()) for call in calls])
    assert sizes[0] < IDLE * IDLE_BYTES
    assert sizes[1] < sizes[0] / 2, f"the second thousand takes the place of the first: {sizes}"
