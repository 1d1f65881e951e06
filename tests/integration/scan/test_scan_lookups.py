"""LookupTag through the public door: the verdict as Verify gives it, and nothing recorded."""

import grpc
import pytest
from voketag.scan.v1 import scan_pb2

from mesh.clock import new_id
from tests.integration.scan.calls import BLOCKED, GENUINE, UNKNOWN, Stub, reason_of, verify
from tests.integration.scan.world import Database, anywhere, token_of
from trust.token import ALPHABET

pytestmark = pytest.mark.asyncio(loop_scope="module")

SCAN_ONLY = {"first_scan", "recorded", "scan_id"}


async def look(stub: Stub, token: str) -> scan_pb2.LookupTagResponse:
    return await stub.LookupTag(scan_pb2.LookupTagRequest(token=token), metadata=anywhere(), timeout=10)


def alike(looked: scan_pb2.LookupTagResponse, verified: scan_pb2.VerifyResponse) -> None:
    """Every field that both have is the same, but for the time of the answer and what the risk says of the caller."""
    mine, theirs = type(looked).FromString(looked.SerializeToString()), scan_pb2.LookupTagResponse()
    theirs.ParseFromString(verified.SerializeToString())
    theirs.DiscardUnknownFields()
    assert mine.risk.total == theirs.risk.total
    for answer in (mine, theirs):
        answer.ClearField("checked_at")
        answer.ClearField("risk")  # who asks is a part of it
    assert mine == theirs


async def test_the_fields_are_those_of_verify() -> None:
    looked, verified = (
        {field.name: field.number for field in message.DESCRIPTOR.fields}
        for message in (scan_pb2.LookupTagResponse, scan_pb2.VerifyResponse)
    )
    assert looked == {name: number for name, number in verified.items() if name not in SCAN_ONLY}


async def test_looking_says_what_verify_says_and_counts_nothing(stub: Stub, database: Database) -> None:
    token = (await database.batch(state="COMPLETED")).tokens[0]
    for _ in range(3):
        before = await look(stub, token)
        assert (before.verdict, before.scan_count, before.HasField("first_scanned_at")) == (GENUINE, 0, False)
    verified = await verify(stub, token)
    assert verified.first_scan
    looked = await look(stub, token)
    alike(looked, verified)
    assert looked.checked_at.ToNanoseconds() >= verified.checked_at.ToNanoseconds()


async def test_looking_sends_nobody_to_a_cache(stub: Stub, database: Database) -> None:
    call = stub.LookupTag(scan_pb2.LookupTagRequest(token=token_of(new_id())), metadata=anywhere())
    assert dict(await call.initial_metadata())["cache-control"] == "no-store"
    assert (await call).verdict == UNKNOWN


async def test_each_verdict_is_that_of_verify(stub: Stub, database: Database) -> None:
    blocked = (await database.batch(state="CANCELLED")).tokens[0]
    looked = await look(stub, blocked)
    assert looked.verdict == BLOCKED
    assert (await look(stub, (await database.batch(kid=3)).tokens[0])).verdict == BLOCKED


async def test_a_bad_tag_and_an_unknown_product_are_answered_alike(stub: Stub, database: Database) -> None:
    token = (await database.batch()).tokens[0]
    forged = token[:40] + ALPHABET[ALPHABET.index(token[40]) ^ 1] + token[41:]
    expected = await verify(stub, forged)
    for text in (forged, token_of(new_id()), token_of(new_id(), 9), token_of(new_id(), 3)):
        answer = await look(stub, text)
        assert answer.verdict == UNKNOWN
        alike(answer, expected)


async def test_typed_text_is_forgiven(stub: Stub, database: Database) -> None:
    token = (await database.batch()).tokens[0]
    assert (await look(stub, " " + "-".join((token[:25].lower(), token[25:])))).verdict == GENUINE


@pytest.mark.parametrize("text", ["x", "0" * 49, "U" * 50, "é" * 50, "\0" * 50, "0" * 128])
async def test_what_is_no_token_is_refused(stub: Stub, text: str) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await look(stub, text)
    assert (caught.value.code(), reason_of(caught.value)) == (grpc.StatusCode.INVALID_ARGUMENT, "TOKEN_MALFORMED")


@pytest.mark.parametrize("text", ["", "0" * 129, "0" * 1_000_000])
async def test_text_outside_the_contract_is_refused(stub: Stub, text: str) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await look(stub, text)
    assert reason_of(caught.value) == "VALIDATION_FAILED"
