"""Verify through the public door: verdicts, bad input, counts and limits."""

import asyncio
from collections import Counter
from collections.abc import Callable
from uuid import UUID

import grpc
import pytest
import redis.asyncio
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from mesh.clock import new_id
from tests.integration.scan.calls import BLOCKED, GENUINE, UNKNOWN, F, N, P, Stub, outcomes, reason_of, verify
from tests.integration.scan.world import ATTRIBUTES, FACTORY, Database, Service, anywhere, token_of
from trust.token import ALPHABET, decode

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_a_genuine_code_and_its_history(stub: Stub, database: Database) -> None:
    batch = await database.batch(3, state="COMPLETED")
    first = await verify(stub, batch.tokens[1])
    again = await verify(stub, batch.tokens[1])
    assert first.verdict == GENUINE
    assert outcomes(first) == [P, P, P, P]
    assert first.product.product_id == str(batch.product_ids[1])
    assert first.product.batch_id == str(batch.batch_id)
    assert first.product.factory_name == FACTORY
    assert dict(first.product.attributes) == ATTRIBUTES
    assert (first.first_scan, first.scan_count) == (True, 1)
    assert (again.first_scan, again.scan_count) == (False, 2)
    assert again.first_scanned_at == first.first_scanned_at
    assert not first.degraded
    assert first.checked_at.ToDatetime() <= again.checked_at.ToDatetime()


async def test_a_batch_that_is_not_anchored_yet(stub: Stub, database: Database) -> None:
    batch = await database.batch(state="RECEIVING")
    answer = await verify(stub, batch.tokens[0])
    assert answer.verdict == GENUINE
    assert outcomes(answer) == [P, P, P, N]


@pytest.mark.parametrize("state", ["CANCELLED", "FAILED"])
async def test_a_withdrawn_batch_blocks(stub: Stub, database: Database, state: str) -> None:
    batch = await database.batch(state=state)
    answer = await verify(stub, batch.tokens[0])
    assert answer.verdict == BLOCKED
    assert outcomes(answer) == [P, F, P, N]


async def test_a_cancellation_counts_within_two_seconds(stub: Stub, database: Database) -> None:
    batch = await database.batch()
    assert (await verify(stub, batch.tokens[0])).verdict == GENUINE
    await database.move(batch, "CANCELLED")
    async with asyncio.timeout(3):
        while (await verify(stub, batch.tokens[0])).verdict != BLOCKED:
            await asyncio.sleep(0.05)


async def test_a_revoked_key_blocks(stub: Stub, database: Database) -> None:
    batch = await database.batch(kid=3)
    answer = await verify(stub, batch.tokens[0])
    assert answer.verdict == BLOCKED
    assert outcomes(answer) == [F, P, P, N]


async def test_a_key_that_only_verifies_is_good(stub: Stub, database: Database) -> None:
    batch = await database.batch(kid=2)
    assert (await verify(stub, batch.tokens[0])).verdict == GENUINE


async def test_what_is_not_ours_is_answered_alike(stub: Stub, database: Database) -> None:
    batch = await database.batch()
    token, product_id = batch.tokens[0], batch.product_ids[0]
    other = decode(token)
    forged = {
        "flipped tag": token[:40] + ALPHABET[ALPHABET.index(token[40]) ^ 1] + token[41:],
        "flipped product": token[:20] + ALPHABET[ALPHABET.index(token[20]) ^ 1] + token[21:],
        "unknown kid": token_of(product_id, 9),
        "tag of another product": token_of(new_id())[:27] + token[27:],
        "another of our keys": token_of(product_id, 2),
        "revoked key, unknown product": token_of(new_id(), 3),
        "unknown product": token_of(new_id()),
        "nil product": token_of(UUID(int=0)),
    }
    assert other.kid == 1
    expected = None
    for name, text in forged.items():
        answer = await verify(stub, text)
        answer.ClearField("checked_at")
        assert answer.verdict == UNKNOWN, name
        expected = expected or answer
        assert answer == expected, name
    assert expected is not None
    assert outcomes(expected) == [F, N, N, N]
    assert not expected.HasField("product")
    assert (await verify(stub, token)).first_scan, "forgeries must not count as scans of the product"


async def test_every_bit_of_a_token_matters(stub: Stub, database: Database) -> None:
    token = (await database.batch()).tokens[0]
    raw = int("".join(f"{ALPHABET.index(character):05b}" for character in token), 2)
    digits = [raw ^ (1 << bit) for bit in range(2, 250)]
    flipped = ["".join(ALPHABET[value >> 5 * place & 31] for place in reversed(range(50))) for value in digits]
    answers = await asyncio.gather(*[verify(stub, text) for text in flipped])
    assert {answer.verdict for answer in answers} == {UNKNOWN}


@pytest.mark.parametrize(
    "spoil",
    [
        lambda token: token[:-1],
        lambda token: token + "0",
        lambda token: token.lower(),
        lambda token: token[:-1] + ALPHABET[ALPHABET.index(token[-1]) | 1],
        lambda token: token[:-1] + ALPHABET[ALPHABET.index(token[-1]) | 2],
        lambda token: "U" + token[1:],
        lambda token: " " + token[1:],
        lambda token: "é" + token[1:],
        lambda token: "0" * 128,
        lambda token: "x",
    ],
)
async def test_malformed_text_is_refused(stub: Stub, database: Database, spoil: Callable[[str], str]) -> None:
    token = (await database.batch()).tokens[0]
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await verify(stub, spoil(token))
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert reason_of(caught.value) == "TOKEN_MALFORMED"


@pytest.mark.parametrize("text", ["", "0" * 129])
async def test_text_outside_the_contract(stub: Stub, text: str) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await verify(stub, text)
    assert reason_of(caught.value) == "VALIDATION_FAILED"


async def test_typed_text_is_folded(stub: Stub, database: Database) -> None:
    token = (await database.batch()).tokens[0]
    typed = " " + "-".join(token[start : start + 5] for start in range(0, 50, 5)).lower()
    typed = typed.replace("1", "l").replace("0", "o")
    assert (await verify(stub, typed, typed=True)).verdict == GENUINE
    assert (await verify(stub, token)).scan_count == 2
    with pytest.raises(grpc.aio.AioRpcError):
        await verify(stub, typed)


async def test_of_many_first_scans_one_is_first(stub: Stub, database: Database) -> None:
    token = (await database.batch()).tokens[0]
    answers = await asyncio.gather(*[verify(stub, token) for _ in range(100)])
    assert sum(answer.first_scan for answer in answers) == 1
    assert sorted(answer.scan_count for answer in answers) == list(range(1, 101))
    assert len({answer.first_scanned_at.ToNanoseconds() for answer in answers}) == 1


@pytest.mark.parametrize("ours", [True, False])
async def test_a_caller_over_its_budget_is_told_when_to_come_back(stub: Stub, database: Database, ours: bool) -> None:
    tokens = (await database.batch(80)).tokens if ours else [token_of(new_id()) for _ in range(80)]
    here = anywhere()
    calls = [verify(stub, token, metadata=here) for token in tokens]
    results = await asyncio.gather(*calls, return_exceptions=True)
    refused = [result for result in results if isinstance(result, grpc.aio.AioRpcError)]
    assert 1 <= len(refused) <= 20
    assert Counter(error.code() for error in refused) == {grpc.StatusCode.RESOURCE_EXHAUSTED: len(refused)}
    assert reason_of(refused[0]) == "RATE_LIMITED"
    status = rpc_status.from_call(refused[0])
    retry = error_details_pb2.RetryInfo()
    assert any(detail.Unpack(retry) for detail in status.details)
    assert 0 < retry.retry_delay.ToNanoseconds() < 1e9
    if ours:
        limited = [t for t, result in zip(tokens, results, strict=True) if isinstance(result, grpc.aio.AioRpcError)]
        assert (await verify(stub, limited[0])).first_scan, "a refused scan counts nowhere"


async def test_neighbours_share_a_budget_and_others_do_not(stub: Stub, database: Database) -> None:
    token = (await database.batch()).tokens[0]
    base = anywhere()[0][1].removesuffix("::1")
    addresses = [f"{base}:{number:x}::1" for number in range(80)]
    calls = [verify(stub, token, metadata=(("x-client-address", address),)) for address in addresses]
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert any(isinstance(result, grpc.aio.AioRpcError) for result in results)
    assert (await verify(stub, token)).verdict == GENUINE


async def test_valkey_that_lost_its_functions_gets_them_again(stub: Stub, database: Database, service: Service) -> None:
    token = (await database.batch()).tokens[0]
    environment = service.environment
    async with redis.asyncio.Redis.from_url(
        environment["VOKETAG_VALKEY_URL"], password=environment["VOKETAG_VALKEY_PASSWORD"]
    ) as client:
        await client.function_delete("voketag_scan_v2")
    answer = await verify(stub, token)
    assert answer.first_scan
    assert not answer.degraded
