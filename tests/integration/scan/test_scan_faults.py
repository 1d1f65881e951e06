"""Valkey and PostgreSQL go away under load and come back: what design.md promises for each."""

import asyncio
import os
import signal
import sys
import time
import urllib.request
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from voketag.scan.v1 import scan_pb2

from mesh.clock import new_id
from mesh.local.postgres import PostgresServer
from mesh.local.process import Child
from mesh.local.valkey import ValkeyServer
from tests.fakes.anchor import FakeAnchor
from tests.integration.scan.calls import BLOCKED, GENUINE, UNKNOWN, N, P, Stub, outcomes, reason_of, verify
from tests.integration.scan.world import HASTY, Batch, Database, Service, anywhere, connected, stub_of, token_of
from tests.servers import start_postgres, start_valkey

Seen = Callable[[scan_pb2.VerifyResponse], bool]
PATIENCE_SECONDS = 20


ONE_PHONE = anywhere()
GENEROUS = {f"VOKETAG_{budget}_{part}": "1000000" for budget in ("SCAN", "DEVICE") for part in ("PER_SECOND", "BURST")}


@dataclass
class Mesh:
    postgres: PostgresServer
    valkey: ValkeyServer
    database: Database
    service: Service
    channel: grpc.aio.Channel
    stub: Stub

    async def until(self, token: str, seen: Seen) -> scan_pb2.VerifyResponse:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not seen(answer := await verify(self.stub, token, metadata=ONE_PHONE)):
                await asyncio.sleep(0.02)
        return answer

    async def healthy(self) -> bool:
        answer = await health_pb2_grpc.HealthStub(self.channel).Check(health_pb2.HealthCheckRequest())
        return answer.status == health_pb2.HealthCheckResponse.SERVING

    async def metric(self, dependency: str) -> float:
        url = f"http://127.0.0.1:{self.service.metrics_port}/metrics"
        text = await asyncio.to_thread(lambda: urllib.request.urlopen(url, timeout=5).read().decode())
        name = f'voketag_dependency_up{{dependency="{dependency}"}} '
        return next(float(line.removeprefix(name)) for line in text.splitlines() if line.startswith(name))

    def lines(self, event: str, dependency: str) -> int:
        log = self.service.log.read_text().splitlines()
        return sum(f'"{event}"' in line and f'"{dependency}"' in line for line in log)


@dataclass
class Load:
    """One phone that scans sixteen times at once and never stops; each answer, and the longest wait for one."""

    stub: Stub
    tokens: list[str]
    answers: list[scan_pb2.VerifyResponse] = field(default_factory=list)
    longest: float = 0.0

    @asynccontextmanager
    async def __call__(self) -> AsyncIterator["Load"]:
        stop = asyncio.Event()

        async def caller(number: int) -> None:
            while not stop.is_set():
                begun = time.perf_counter()
                token = self.tokens[number % len(self.tokens)]
                self.answers.append(await verify(self.stub, token, metadata=ONE_PHONE))
                self.longest = max(self.longest, time.perf_counter() - begun)

        callers = [asyncio.create_task(caller(number)) for number in range(16)]
        try:
            yield self
        finally:
            stop.set()
            await asyncio.gather(*callers)


@pytest.fixture
async def mesh(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Mesh]:
    postgres, valkey, anchor = await start_postgres(tmp_path, durable=True), await start_valkey(tmp_path), FakeAnchor()  # type: ignore[abstract]
    await anchor.start()
    database = Database(postgres.dsn())
    await database.create()
    service = Service(tmp_path, database, valkey.url, anchor.target, **{**HASTY, **getattr(request, "param", GENEROUS)})
    await service.start()
    async with grpc.aio.insecure_channel(service.target) as channel:
        yield Mesh(postgres, valkey, database, service, channel, stub_of(channel))
    for stoppable in (service, anchor, valkey, postgres):
        await stoppable.stop()


async def known(mesh: Mesh, size: int = 4) -> Batch:
    batch = await mesh.database.batch(size, state="COMPLETED")
    await asyncio.gather(*[verify(mesh.stub, token) for token in batch.tokens])
    return batch


async def test_valkey_goes_away_and_comes_back(mesh: Mesh) -> None:
    batch = await known(mesh)
    async with Load(mesh.stub, batch.tokens)() as load:
        await mesh.valkey.kill()
        answer = await mesh.until(batch.tokens[0], lambda answer: answer.degraded)
        assert answer.verdict == GENUINE
        assert outcomes(answer) == [P, P, N, P]
        assert (answer.scan_count, answer.first_scan, answer.HasField("first_scanned_at")) == (0, False, False)
        assert answer.product.product_id == str(batch.product_ids[0])
        assert await mesh.healthy()
        assert await mesh.metric("Valkey") == 0
        await mesh.valkey.start()
        answer = await mesh.until(batch.tokens[0], lambda answer: not answer.degraded)
        assert outcomes(answer) == [P, P, P, P]
        assert answer.scan_count > 1, "the append-only file kept the count"
        assert await mesh.metric("Valkey") == 1
    assert {answer.verdict for answer in load.answers} == {GENUINE}
    assert load.longest < 2
    assert mesh.lines("dependency is away", "Valkey") == mesh.lines("dependency is back", "Valkey") == 1


@pytest.mark.parametrize("mesh", [{}], indirect=True)
async def test_without_valkey_callers_are_limited_all_the_same(mesh: Mesh) -> None:
    token = (await known(mesh)).tokens[0]
    await mesh.valkey.kill()
    await mesh.until(token, lambda answer: answer.degraded)
    here = anywhere()
    calls = [verify(mesh.stub, token, metadata=here) for _ in range(80)]
    refused = [r for r in await asyncio.gather(*calls, return_exceptions=True) if isinstance(r, grpc.aio.AioRpcError)]
    assert 1 <= len(refused) <= 20
    assert {reason_of(error) for error in refused} == {"RATE_LIMITED"}


async def test_valkey_hangs(mesh: Mesh) -> None:
    batch = await known(mesh)
    pid = mesh.valkey.child.pid
    assert pid is not None
    async with Load(mesh.stub, batch.tokens)() as load:
        os.kill(pid, signal.SIGSTOP)
        try:
            await mesh.until(batch.tokens[0], lambda answer: answer.degraded)
        finally:
            os.kill(pid, signal.SIGCONT)
        await mesh.until(batch.tokens[0], lambda answer: not answer.degraded)
    assert {answer.verdict for answer in load.answers} == {GENUINE}
    assert load.longest < 3


async def test_postgresql_goes_away_and_comes_back(mesh: Mesh) -> None:
    batch = await known(mesh)
    unseen = await mesh.database.batch(2, state="COMPLETED")
    leaked = await mesh.database.batch(kid=3)
    async with Load(mesh.stub, batch.tokens)() as load:
        await mesh.postgres.kill()
        answer = await mesh.until(batch.tokens[0], lambda answer: answer.degraded)
        assert answer.verdict == GENUINE
        assert outcomes(answer) == [P, P, P, P]
        assert answer.scan_count > 1
        assert answer.product.product_id == str(batch.product_ids[0])
        tag_only = await verify(mesh.stub, unseen.tokens[0])
        assert (tag_only.verdict, tag_only.degraded, tag_only.first_scan) == (GENUINE, True, True)
        assert outcomes(tag_only) == [P, N, P, N]
        assert not tag_only.HasField("product")
        assert (await verify(mesh.stub, leaked.tokens[0])).verdict == BLOCKED
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await mesh.stub.GetReceipt(scan_pb2.GetReceiptRequest(token=unseen.tokens[0]), metadata=anywhere())
        assert reason_of(caught.value) == "DEPENDENCY_UNAVAILABLE"
        assert await mesh.healthy()
        assert await mesh.metric("PostgreSQL") == 0
        await mesh.postgres.start()
        answer = await mesh.until(unseen.tokens[0], lambda answer: not answer.degraded)
        assert outcomes(answer) == [P, P, P, P]
        assert await mesh.metric("PostgreSQL") == 1
    assert {answer.verdict for answer in load.answers} == {GENUINE}
    assert load.longest < 3
    assert mesh.lines("dependency is away", "PostgreSQL") == mesh.lines("dependency is back", "PostgreSQL") == 1


async def test_postgresql_hangs(mesh: Mesh) -> None:
    batch = await known(mesh)
    unseen = (await mesh.database.batch()).tokens[0]
    async with Load(mesh.stub, batch.tokens)() as load:
        async with connected(mesh.database.owner_dsn) as owner, owner.transaction():
            await owner.execute("LOCK TABLE factory.batches IN ACCESS EXCLUSIVE MODE")
            await mesh.until(unseen, lambda answer: outcomes(answer) == [P, N, P, N])
            answer = await verify(mesh.stub, batch.tokens[0])
            assert outcomes(answer) == [P, P, P, P]
        await mesh.until(unseen, lambda answer: not answer.degraded)
    assert {answer.verdict for answer in load.answers} == {GENUINE}
    assert load.longest < 3


async def test_both_are_away(mesh: Mesh) -> None:
    batch = await known(mesh)
    unseen = (await mesh.database.batch()).tokens[0]
    await asyncio.gather(mesh.postgres.kill(), mesh.valkey.kill())
    await mesh.until(batch.tokens[0], lambda answer: outcomes(answer)[2] == N)
    tag_only = await mesh.until(unseen, lambda answer: answer.degraded)
    assert tag_only.verdict == GENUINE
    assert outcomes(tag_only) == [P, N, N, N]
    assert not tag_only.HasField("product")
    assert (await verify(mesh.stub, token_of(new_id(), 9))).verdict == UNKNOWN
    remembered = await mesh.until(batch.tokens[0], lambda answer: answer.degraded)
    assert remembered.product.product_id == str(batch.product_ids[0])
    page = await mesh.stub.GetPage(scan_pb2.GetPageRequest(token=unseen), metadata=anywhere())
    assert b"Not everything could be checked just now" in page.data
    assert await mesh.healthy()


async def test_what_is_not_there_at_start_is_named(mesh: Mesh, tmp_path: Path, unused_tcp_port: int) -> None:
    spoiled = {
        "PostgreSQL": {"VOKETAG_DATABASE_URL": f"postgresql://voketag_scan@127.0.0.1:{unused_tcp_port}/x"},
        "Valkey": {"VOKETAG_VALKEY_URL": f"redis://127.0.0.1:{unused_tcp_port}"},
        "VOKETAG_KEYRING": {"VOKETAG_KEYRING": '{"keys":[{"kid":1,"key":"c2VjcmV0","state":"signing"}]}'},
        "VOKETAG_ANCHOR_TARGET": {},
    }

    async def start(name: str) -> tuple[int, str]:
        environment = {**mesh.service.environment, **spoiled[name], "VOKETAG_METRICS_PORT": "0"}
        if not spoiled[name]:
            del environment[name]
        child = Child("scan", [sys.executable, "-m", "scan"], log=tmp_path / f"{name}.log", env=environment)
        await child.start()
        return await child.wait(), (tmp_path / f"{name}.log").read_text()

    for name, (status, log) in zip(spoiled, await asyncio.gather(*map(start, spoiled)), strict=True):
        assert status > 0, name
        assert name in log
        assert "Traceback" not in log
        assert "c2VjcmV0" not in log
