"""VerifyStream through the public door: chunks and their answers, wrong input, budgets, ends of every kind."""

import asyncio
from collections.abc import Sequence
from typing import Any

import grpc
import pytest
from grpc_status import rpc_status
from voketag.scan.v1 import scan_pb2

from mesh.clock import new_id
from tests.fakes.anchor import FakeAnchor
from tests.integration.scan.calls import BLOCKED, GENUINE, UNKNOWN, Stub, reason_of, verify
from tests.integration.scan.world import ATTRIBUTES, Database, Service, anywhere, stub_of, token_of
from tests.servers import ValkeyAddress

pytestmark = pytest.mark.asyncio(loop_scope="module")

SCANNED, MALFORMED, LIMITED = (
    scan_pb2.TOKEN_STATUS_SCANNED,
    scan_pb2.TOKEN_STATUS_MALFORMED,
    scan_pb2.TOKEN_STATUS_RATE_LIMITED,
)
BURST = 60


def header(*, with_products: bool = False) -> scan_pb2.VerifyStreamRequest:
    return scan_pb2.VerifyStreamRequest(header=scan_pb2.VerifyStreamHeader(with_products=with_products))


def chunk(sequence: int, tokens: Sequence[str]) -> scan_pb2.VerifyStreamRequest:
    return scan_pb2.VerifyStreamRequest(chunk=scan_pb2.TokenChunk(sequence=sequence, tokens=tokens))


async def exchange(
    stub: Stub, *frames: scan_pb2.VerifyStreamRequest, metadata: Any = None
) -> list[scan_pb2.VerifyStreamResponse]:
    """Sends all frames, then reads all answers."""
    call = stub.VerifyStream(metadata=metadata or anywhere(), timeout=20)
    for frame in frames:
        await call.write(frame)
    await call.done_writing()
    return [answer async for answer in call]


async def refusal(stub: Stub, *frames: scan_pb2.VerifyStreamRequest) -> tuple[list[int], str]:
    """The sequence numbers answered, and the reason of the end."""
    call = stub.VerifyStream(iter(frames), metadata=anywhere(), timeout=20)
    answered: list[int] = []
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        while isinstance(answer := await call.read(), scan_pb2.VerifyStreamResponse):
            answered.append(answer.sequence)
    return answered, reason_of(caught.value)


async def test_chunks_are_answered_in_order_with_a_result_a_token(stub: Stub, database: Database) -> None:
    batch = await database.batch(20, state="COMPLETED")
    answers = await exchange(stub, header(), chunk(7, batch.tokens[:15]), chunk(8, batch.tokens[10:]))
    assert [answer.sequence for answer in answers] == [7, 8]
    ids = [[result.product_id for result in answer.results] for answer in answers]
    assert ids == [[str(p) for p in batch.product_ids[:15]], [str(p) for p in batch.product_ids[10:]]]
    for result in answers[0].results:
        assert (result.status, result.verdict, result.batch_id) == (SCANNED, GENUINE, str(batch.batch_id))
        assert (result.first_scan, result.scan_count, result.degraded) == (True, 1, False)
        assert not result.HasField("product")
    assert [result.scan_count for result in answers[1].results] == [2] * 5 + [1] * 5
    assert answers[0].HasField("checked_at")


async def test_whole_cards_come_when_they_are_asked_for(stub: Stub, database: Database) -> None:
    batch = await database.batch()
    tokens = [batch.tokens[0], token_of(new_id())]
    [answer] = await exchange(stub, header(with_products=True), chunk(0, tokens))
    known, unknown = answer.results
    assert dict(known.product.attributes) == ATTRIBUTES
    assert known.product.product_id == known.product_id
    assert not unknown.HasField("product")


async def test_verdicts_and_counts_are_those_of_verify(stub: Stub, database: Database) -> None:
    genuine, blocked = await database.batch(state="COMPLETED"), await database.batch(state="CANCELLED")
    texts = [genuine.tokens[0], blocked.tokens[0], token_of(new_id()), token_of(genuine.product_ids[0], 9)]
    [answer] = await exchange(stub, header(), chunk(0, texts))
    assert [result.verdict for result in answer.results] == [GENUINE, BLOCKED, UNKNOWN, UNKNOWN]
    assert answer.results[2] == answer.results[3]
    assert not answer.results[2].product_id
    assert (await verify(stub, texts[0])).scan_count == 2


async def test_the_same_token_many_times_is_as_many_scans(stub: Stub, database: Database) -> None:
    token = (await database.batch()).tokens[0]
    [answer] = await exchange(stub, header(), chunk(0, [token] * 40))
    assert [result.scan_count for result in answer.results] == list(range(1, 41))
    assert [result.first_scan for result in answer.results] == [True] + [False] * 39


async def test_malformed_items_have_their_own_status_and_end_nothing(stub: Stub, database: Database) -> None:
    token = (await database.batch()).tokens[0]
    texts = ["", "x", token.lower(), token + "0", "é" * 50, "\0", "0" * 1_000_000, token]
    first, second = await exchange(stub, header(), chunk(1, texts), chunk(2, [token]))
    assert [result.status for result in first.results] == [MALFORMED] * 7 + [SCANNED]
    assert first.results[0] == scan_pb2.TokenResult(status=MALFORMED)
    assert second.results[0].scan_count == 2


async def test_items_over_the_budget_are_told_when_to_come_back(stub: Stub, database: Database) -> None:
    tokens = (await database.batch(500)).tokens
    here = anywhere()
    [answer] = await exchange(stub, header(), chunk(0, tokens), metadata=here)
    scanned = [result for result in answer.results if result.status == SCANNED]
    limited = [result for result in answer.results if result.status == LIMITED]
    assert len(scanned) + len(limited) == 500
    assert BURST <= len(scanned) <= 4 * BURST
    assert all(0 < result.retry_after_ms <= 1_000 for result in limited)
    late = next(t for t, result in zip(tokens, answer.results, strict=True) if result.status == LIMITED)
    async with asyncio.timeout(10):
        while True:
            [again] = await exchange(stub, header(), chunk(0, [late]), metadata=here)
            if again.results[0].status == SCANNED:
                break
            await asyncio.sleep(again.results[0].retry_after_ms / 1000)
    assert again.results[0].first_scan, "a token over the budget counts nowhere"


async def test_opening_streams_has_a_budget_too(stub: Stub) -> None:
    here = anywhere()
    calls = [exchange(stub, header(), metadata=here) for _ in range(60)]
    results = await asyncio.gather(*calls, return_exceptions=True)
    refused = [result for result in results if isinstance(result, grpc.aio.AioRpcError)]
    # gRPC's client gives a status of its own when its first message is still on the way as the server refuses.
    told = [error for error in refused if rpc_status.from_call(error) is not None]
    assert told
    assert {reason_of(error) for error in told} == {"RATE_LIMITED"}


async def test_a_header_alone_is_a_stream_of_nothing(stub: Stub) -> None:
    assert await exchange(stub, header()) == []


async def test_streams_without_a_header_first_and_once_are_refused(stub: Stub, database: Database) -> None:
    token = (await database.batch()).tokens[0]
    assert await refusal(stub) == ([], "STREAM_HEADER_EXPECTED")
    assert await refusal(stub, chunk(0, [token])) == ([], "STREAM_HEADER_EXPECTED")
    assert await refusal(stub, header(), chunk(0, [token]), header()) == ([0], "STREAM_HEADER_EXPECTED")
    assert (await verify(stub, token)).scan_count == 2, "what was answered before counts, the rest does not"


@pytest.mark.parametrize("numbers", [(0, 0), (0, 2), (5, 4), (1, 2, 2), (3, 4, 1 << 63)])
async def test_numbers_that_do_not_rise_by_one_end_the_stream(
    stub: Stub, database: Database, numbers: tuple[int, ...]
) -> None:
    token = (await database.batch()).tokens[0]
    answered, reason = await refusal(stub, header(), *[chunk(number, [token]) for number in numbers])
    assert (answered, reason) == (list(numbers[:-1]), "SEQUENCE_BROKEN")


@pytest.mark.parametrize("size", [0, 501, 5_000])
async def test_a_chunk_has_1_to_500_tokens(stub: Stub, size: int) -> None:
    assert await refusal(stub, header(), chunk(0, ["x"] * size)) == ([], "CHUNK_SIZE")


async def test_frames_outside_the_contract_end_the_stream(stub: Stub) -> None:
    assert await refusal(stub, scan_pb2.VerifyStreamRequest()) == ([], "VALIDATION_FAILED")
    unknown = scan_pb2.VerifyStreamRequest.FromString(b"\x9a\x06\x01x")
    assert await refusal(stub, header(), unknown) == ([], "VALIDATION_FAILED")


async def test_unknown_fields_are_ignored(stub: Stub, database: Database) -> None:
    frame = scan_pb2.VerifyStreamRequest.FromString(
        chunk(3, (await database.batch()).tokens).SerializeToString() + b"\x9a\x06\x01x"
    )
    [answer] = await exchange(stub, header(), frame)
    assert [result.status for result in answer.results] == [SCANNED]


async def test_frames_larger_than_a_message_may_be_end_the_stream(stub: Stub) -> None:
    call = stub.VerifyStream(iter([header(), chunk(0, ["0" * 5_000_000])]), metadata=anywhere(), timeout=20)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        [answer async for answer in call]
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_bytes_that_are_no_message_end_the_stream(service: Service) -> None:
    async with grpc.aio.insecure_channel(service.target) as channel:
        method: Any = channel.stream_stream("/voketag.scan.v1.ScanService/VerifyStream")
        call = method(iter([b"\xff\xff\xff"]), metadata=anywhere(), timeout=20)
        with pytest.raises(grpc.aio.AioRpcError):
            [answer async for answer in call]


async def test_the_deadline_ends_a_stream_that_idles(stub: Stub) -> None:
    call = stub.VerifyStream(metadata=anywhere(), timeout=0.5)
    await call.write(header())
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call.read()
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED


async def test_the_server_reads_no_further_than_a_few_chunks_ahead_of_its_answers(
    service: Service, database: Database
) -> None:
    """A client that never reads: HTTP/2's windows fill, and only what was read is scanned."""
    token = (await database.batch()).tokens[0]
    written = 0
    async with grpc.aio.insecure_channel(service.target) as channel:
        call = stub_of(channel).VerifyStream(metadata=anywhere())

        async def write() -> None:
            nonlocal written
            await call.write(header())
            while True:
                await call.write(chunk(written, ["x" * 4_000] * 500))
                written += 1

        writing = asyncio.create_task(write())
        before = -1
        async with asyncio.timeout(60):
            while written != before:
                before = written
                await asyncio.sleep(1)
        assert not writing.done()
        assert 0 < written < 5_000
        writing.cancel()
        call.cancel()
    async with grpc.aio.insecure_channel(service.target) as channel:
        assert (await verify(stub_of(channel), token)).first_scan, "others are served all the while"


async def test_a_server_that_stops_answers_what_it_read_and_says_so(
    database: Database, valkey: ValkeyAddress, anchor: FakeAnchor, tmp_path: Any
) -> None:
    batch = await database.batch(50)
    service = Service(tmp_path, database, valkey.url, anchor.target)
    await service.start()
    async with grpc.aio.insecure_channel(service.target) as channel:
        call = stub_of(channel).VerifyStream(metadata=anywhere())
        await call.write(header())
        await call.write(chunk(1, batch.tokens))
        answer = await call.read()
        assert isinstance(answer, scan_pb2.VerifyStreamResponse)
        assert len(answer.results) == 50
        stopping = asyncio.create_task(service.stop())
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call.read()
        await stopping
    assert (caught.value.code(), reason_of(caught.value)) == (grpc.StatusCode.UNAVAILABLE, "SHUTTING_DOWN")
