"""Calls of Verify that come at once share a turn, and none feels what the others are or what becomes of them."""

import asyncio
from collections.abc import Awaitable, Callable
from uuid import UUID

import grpc
import pytest
import pytest_asyncio
from grpc.aio import AioRpcError
from voketag.scan.v1 import scan_pb2

from scan.verify_call import METHOD
from tests.integration.scan.calls import GENUINE, UNKNOWN, Stub, reason_of, verify
from tests.integration.scan.conftest import ONCE
from tests.integration.scan.world import Batch, Database, Service, anywhere

pytestmark = pytest.mark.asyncio(loop_scope="module")

ROUNDS = 8


@pytest_asyncio.fixture(**ONCE)
async def batch(database: Database) -> Batch:
    return await database.batch(300, state="COMPLETED")


async def refused(call: Awaitable[object]) -> str:
    with pytest.raises(AioRpcError) as failed:
        await call
    return reason_of(failed.value)


async def test_every_call_of_a_turn_has_its_own_answer(stub: Stub, batch: Batch) -> None:
    tokens = batch.tokens[: 10 * ROUNDS]
    products = dict(zip(batch.tokens, batch.product_ids, strict=True))
    forged = tokens[0][:-1] + ("0" if tokens[0][-1] != "0" else "4")

    async def ordinary(token: str) -> None:
        answer = await verify(stub, token)
        assert (answer.verdict, answer.scan_count, answer.first_scan) == (GENUINE, 1, True)
        assert UUID(answer.product.product_id) == products[token]

    async def explained(token: str) -> None:
        answer = await stub.Verify(scan_pb2.VerifyRequest(token=token, explain=True), metadata=anywhere(), timeout=10)
        assert len(answer.risk.factors) == len(scan_pb2.RiskFactorName.keys()) - 1

    async def typed(token: str) -> None:
        assert (await verify(stub, token.lower(), typed=True)).verdict == GENUINE

    async def wrong() -> None:
        assert (await verify(stub, forged)).verdict == UNKNOWN
        assert await refused(verify(stub, "short")) == "TOKEN_MALFORMED"
        assert await refused(verify(stub, "x" * 1_000)) == "VALIDATION_FAILED"

    for start in range(0, len(tokens), 10):
        part = tokens[start : start + 10]
        await asyncio.gather(
            *[ordinary(token) for token in part[:6]],
            *[explained(token) for token in part[6:8]],
            *[typed(token) for token in part[8:]],
            *[wrong() for _ in range(3)],
        )


async def test_one_of_many_scans_of_a_product_in_a_turn_is_the_first(stub: Stub, batch: Batch) -> None:
    answers = await asyncio.gather(*[verify(stub, batch.tokens[290]) for _ in range(40)])
    assert sorted(answer.scan_count for answer in answers) == list(range(1, 41))
    assert [answer.first_scan for answer in answers].count(True) == 1
    assert len({answer.scan_id for answer in answers}) == 40


async def test_cancelled_calls_take_nothing_with_them(stub: Stub, batch: Batch) -> None:
    for number in range(ROUNDS):
        tokens = batch.tokens[100 + 20 * number : 120 + 20 * number]
        calls = [stub.Verify(scan_pb2.VerifyRequest(token=token), metadata=anywhere(), timeout=10) for token in tokens]
        await asyncio.sleep(0)
        for call in calls[::2]:
            call.cancel()
        for call in calls[1::2]:
            answer = await call
            assert (answer.verdict, answer.scan_count) == (GENUINE, 1)


async def test_bytes_that_are_no_request_are_refused(service: Service, stub: Stub, batch: Batch) -> None:
    async with grpc.aio.insecure_channel(service.target) as channel:
        raw: Callable[..., Awaitable[bytes]] = channel.unary_unary(METHOD)
        good = scan_pb2.VerifyRequest(token=batch.tokens[299]).SerializeToString()
        bad, answer = await asyncio.gather(
            refused(raw(b"\x0a\xff\xff\xff\xff\x0fno", metadata=anywhere(), timeout=10)),
            raw(good, metadata=anywhere(), timeout=10),
        )
        assert bad == "VALIDATION_FAILED"
        assert await refused(raw(b"", metadata=anywhere(), timeout=10)) == "VALIDATION_FAILED"
    assert scan_pb2.VerifyResponse.FromString(answer).verdict == GENUINE
