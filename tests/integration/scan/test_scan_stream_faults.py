"""Streams of scans that break off, and reports while PostgreSQL is away: nothing leaks, nothing is lost unsaid."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from voketag.scan.v1 import scan_pb2

from tests.fakes.anchor import FakeAnchor
from tests.integration.scan.calls import GENUINE, Stub, reason_of, verify
from tests.integration.scan.world import Batch, Database, Service, anywhere, connected, stub_of
from tests.servers import start_postgres, start_valkey

WAVE, WAVES, LEVEL_BYTES = 200, 12, 1_000_000
HEADER = scan_pb2.VerifyStreamRequest(header=scan_pb2.VerifyStreamHeader())


def chunk(sequence: int, tokens: list[str]) -> scan_pb2.VerifyStreamRequest:
    return scan_pb2.VerifyStreamRequest(chunk=scan_pb2.TokenChunk(sequence=sequence, tokens=tokens))


@pytest.fixture
async def ground(tmp_path: Path) -> AsyncIterator[Any]:
    """PostgreSQL and Valkey of one's own, and a scan service."""
    postgres, valkey, anchor = await start_postgres(tmp_path, durable=True), await start_valkey(tmp_path), FakeAnchor()  # type: ignore[abstract]
    await anchor.start()
    database = Database(postgres.dsn())
    await database.create()
    generous = {"VOKETAG_SCAN_PER_SECOND": "1000000", "VOKETAG_SCAN_BURST": "1000000", "VOKETAG_GRACE_SECONDS": "8"}
    service = Service(tmp_path, database, valkey.url, anchor.target, **generous)
    await service.start()
    yield postgres, valkey, database, service
    for stoppable in (service, anchor, valkey, postgres):
        await stoppable.stop()


def resident(pid: int) -> int:
    """Bytes of memory that a process has for itself."""
    fields = Path(f"/proc/{pid}/statm").read_text().split()
    return (int(fields[1]) - int(fields[2])) * 4096


async def cut_off(stub: Stub, batch: Batch, number: int) -> None:
    """A stream that ends at one of many points: before, between and within chunks and their answers."""
    call = stub.VerifyStream(metadata=anywhere())
    await call.write(HEADER)
    for sequence in range(number % 4):
        await call.write(chunk(sequence, batch.tokens))
    if number % 3 and number % 4:
        await call.read()
    call.cancel()


async def test_cancelled_streams_leave_nothing(ground: Any) -> None:
    _, _, database, service = ground
    batch = await database.batch(100)
    sizes: list[int] = []
    async with grpc.aio.insecure_channel(service.target) as channel:
        stub = stub_of(channel)
        for _ in range(WAVES):
            await asyncio.gather(*[cut_off(stub, batch, number) for number in range(WAVE)], return_exceptions=True)
            assert (await verify(stub, batch.tokens[0])).verdict == GENUINE
            sizes.append(resident(service.child.pid))
            if len(sizes) > 3 and max(sizes[-3:]) - sizes[-4] < LEVEL_BYTES:
                break
        else:
            pytest.fail(f"memory grows with each wave of cancelled streams: {sizes}")


async def test_valkey_and_postgresql_go_away_in_the_middle_of_a_stream(ground: Any) -> None:
    postgres, valkey, database, service = ground
    batch = await database.batch(200, state="COMPLETED")
    async with grpc.aio.insecure_channel(service.target) as channel:
        call = stub_of(channel).VerifyStream(metadata=anywhere())
        await call.write(HEADER)
        number = 0

        async def judged() -> list[scan_pb2.TokenResult]:
            nonlocal number
            await call.write(chunk(number, batch.tokens))
            answer = await call.read()
            assert isinstance(answer, scan_pb2.VerifyStreamResponse)
            assert answer.sequence == number
            number += 1
            assert {result.verdict for result in answer.results} == {GENUINE}
            return list(answer.results)

        assert not any(result.degraded for result in await judged())
        await asyncio.gather(postgres.kill(), valkey.kill())
        async with asyncio.timeout(20):
            while not all(result.degraded for result in await judged()):
                await asyncio.sleep(0.05)
            await asyncio.gather(postgres.start(), valkey.start())
            while any(result.degraded for result in await judged()):
                await asyncio.sleep(0.05)
        await call.done_writing()
        assert await call.read() is grpc.aio.EOF


async def test_a_server_that_stops_under_load_answers_whole_chunks_and_says_so(ground: Any) -> None:
    _, _, database, service = ground
    batch = await database.batch(500)
    async with grpc.aio.insecure_channel(service.target) as channel:

        async def scan_on(answered: asyncio.Event) -> str:
            call = stub_of(channel).VerifyStream(metadata=anywhere())
            await call.write(HEADER)
            for number in range(3):
                await call.write(chunk(number, batch.tokens))
            number = 0
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                while isinstance(answer := await call.read(), scan_pb2.VerifyStreamResponse):
                    assert (answer.sequence, len(answer.results)) == (number, 500)
                    answered.set()
                    number += 1
            return reason_of(caught.value)

        events = [asyncio.Event() for _ in range(8)]
        streams = [asyncio.create_task(scan_on(event)) for event in events]
        async with asyncio.timeout(30):
            await asyncio.gather(*[event.wait() for event in events])
            await service.stop()
            assert set(await asyncio.gather(*streams)) == {"SHUTTING_DOWN"}


async def test_without_postgresql_reporters_are_told_to_come_back(ground: Any) -> None:
    postgres, _, database, service = ground
    batch = await database.batch()
    fields: dict[str, Any] = {"kind": scan_pb2.FRAUD_KIND_OTHER, "token": batch.tokens[0], "contact": "a@example.com"}
    request = scan_pb2.ReportFraudRequest(request_id=str(uuid4()), text="Smells of paint", **fields)
    async with grpc.aio.insecure_channel(service.target) as channel:
        stub = stub_of(channel)
        await postgres.kill()
        for _ in range(3):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stub.ReportFraud(request, metadata=anywhere(), timeout=10)
            assert (caught.value.code(), reason_of(caught.value)) == (
                grpc.StatusCode.UNAVAILABLE,
                "DEPENDENCY_UNAVAILABLE",
            )
            status, retry = rpc_status.from_call(caught.value), error_details_pb2.RetryInfo()
            assert any(detail.Unpack(retry) for detail in status.details)
            assert retry.retry_delay.seconds == 1
        await postgres.start()
        cases = {(await stub.ReportFraud(request, metadata=anywhere(), timeout=10)).case_id for _ in range(2)}
    async with connected(database.owner_dsn) as owner:
        assert (
            await owner.fetchval("SELECT count(*) FROM scan.fraud_reports WHERE case_id = $1::text::uuid", *cases) == 1
        )


async def test_a_postgresql_that_hangs_does_not_keep_reporters(ground: Any) -> None:
    _, _, database, service = ground
    request = scan_pb2.ReportFraudRequest(request_id=str(uuid4()), text="x", kind=scan_pb2.FRAUD_KIND_OTHER)
    async with grpc.aio.insecure_channel(service.target) as channel:
        stub = stub_of(channel)
        async with connected(database.owner_dsn) as owner:
            async with owner.transaction():
                await owner.execute("LOCK TABLE scan.fraud_reports IN ACCESS EXCLUSIVE MODE")
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await stub.ReportFraud(request, metadata=anywhere(), timeout=9)
            assert reason_of(caught.value) == "DEPENDENCY_UNAVAILABLE"
            case_id = (await stub.ReportFraud(request, metadata=anywhere(), timeout=9)).case_id
            assert await owner.fetchval("SELECT count(*) FROM scan.fraud_reports") == 1
            assert case_id


async def test_a_report_survives_kill_9_of_its_server_once_answered(ground: Any) -> None:
    _, _, database, service = ground
    requests = [
        scan_pb2.ReportFraudRequest(request_id=str(uuid4()), text=f"report {n}", kind=scan_pb2.FRAUD_KIND_OTHER)
        for n in range(40)
    ]
    answered: dict[str, str] = {}

    async def report(stub: Stub, request: scan_pb2.ReportFraudRequest) -> None:
        answer = await stub.ReportFraud(request, metadata=anywhere(), timeout=10)
        answered[request.request_id] = answer.case_id

    async with grpc.aio.insecure_channel(service.target) as channel:
        calls = [asyncio.create_task(report(stub_of(channel), request)) for request in requests]
        async with asyncio.timeout(20):
            while len(answered) < 5:
                await asyncio.sleep(0)
        await service.child.kill()
        await asyncio.gather(*calls, return_exceptions=True)
    before = dict(answered)
    await service.start()
    async with grpc.aio.insecure_channel(service.target) as channel:
        await asyncio.gather(*[report(stub_of(channel), request) for request in requests])
    assert before.items() <= answered.items()
    async with connected(database.owner_dsn) as owner:
        texts = [row["text"] for row in await owner.fetch("SELECT text FROM scan.fraud_reports")]
        assert sorted(texts) == sorted(request.text for request in requests)
        assert await owner.fetchval("SELECT count(*) FROM scan.audit") == len(requests)
