"""GetReceipt through the public door, with what it gives checked as a stranger would."""

import asyncio
from pathlib import Path
from typing import Any

import grpc
import pytest
from voketag.anchor.v1 import anchor_pb2
from voketag.scan.v1 import scan_pb2

from mesh.clock import new_id
from tests.fakes.anchor import CONTRACT, FakeAnchor
from tests.integration.scan.calls import Stub, reason_of
from tests.integration.scan.world import ATTRIBUTES, Batch, Database, Service, anywhere, stub_of, token_of
from tests.servers import ValkeyAddress
from trust.calls import to_json
from trust.receipt import Receipt, ReceiptState, StampPart, verify

pytestmark = pytest.mark.asyncio(loop_scope="module")

PENDING, SUBMITTED, MINED, FINAL = (
    anchor_pb2.ANCHOR_STATE_PENDING,
    anchor_pb2.ANCHOR_STATE_SUBMITTED,
    anchor_pb2.ANCHOR_STATE_MINED,
    anchor_pb2.ANCHOR_STATE_FINAL,
)


async def receipt(stub: Stub, token: str) -> Receipt:
    body = await stub.GetReceipt(scan_pb2.GetReceiptRequest(token=token), metadata=anywhere(), timeout=10)
    assert body.content_type == "application/json"
    read = Receipt.from_json(body.data)
    assert not verify(read).failed
    return read


async def refused(stub: Stub, token: str) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await receipt(stub, token)
    return caught.value.code(), reason_of(caught.value)


def put(anchor: FakeAnchor, batch: Batch, state: int) -> None:
    assert batch.root is not None
    anchor.put(batch.batch_id.bytes, str(batch.batch_id), batch.root, len(batch.product_ids), state=state)


@pytest.mark.parametrize("size", [1, 2, 3, 256, 257, 1000])
async def test_a_final_receipt_verifies(stub: Stub, database: Database, anchor: FakeAnchor, size: int) -> None:
    batch = await database.batch(size, state="COMPLETED")
    put(anchor, batch, FINAL)
    for index in sorted({0, size // 2, size - 1}):
        found = await receipt(stub, batch.tokens[index])
        assert found.state is ReceiptState.FINAL
        assert verify(found).valid
        assert found.product.id == batch.product_ids[index].bytes
        assert found.product.attributes == ATTRIBUTES
        assert (found.batch.index, found.batch.size, found.batch.root) == (index, size, batch.root)
        assert found.chain is not None
        assert found.chain.contract == CONTRACT.lower()
    assert len(found.to_json()) <= 2048


async def test_a_final_receipt_carries_what_others_have_of_the_anchor(
    stub: Stub, database: Database, anchor: FakeAnchor
) -> None:
    batch = await database.batch(3, state="COMPLETED")
    assert batch.root is not None
    for state, evidence in ((MINED, ()), (FINAL, (StampPart(b"one"), StampPart(b"two")))):
        stamps = {"tsa": b"one", "tsa-eu": b"two"}
        anchor.put(batch.batch_id.bytes, str(batch.batch_id), batch.root, 3, state=state, stamps=stamps)
        async with asyncio.timeout(20):
            while (found := await receipt(stub, batch.tokens[1])).evidence != evidence:
                await asyncio.sleep(0.05)  # what is not final is remembered for a second
        assert (b"voketag.receipt/v2" in found.to_json()) is (state == FINAL)


async def test_a_final_receipt_is_given_as_calls_too(stub: Stub, database: Database, anchor: FakeAnchor) -> None:
    batch = await database.batch(5, state="COMPLETED")
    put(anchor, batch, FINAL)
    request = scan_pb2.GetReceiptRequest(token=batch.tokens[3], encoding=scan_pb2.RECEIPT_ENCODING_CALLS)
    body = await stub.GetReceipt(request, metadata=anywhere(), timeout=10)
    assert (body.content_type, body.data) == ("application/json", to_json(await receipt(stub, batch.tokens[3])))


async def test_a_pending_receipt_has_no_calls(stub: Stub, database: Database, anchor: FakeAnchor) -> None:
    batch = await database.batch(3, state="ANCHORING")
    put(anchor, batch, MINED)
    request = scan_pb2.GetReceiptRequest(token=batch.tokens[0], encoding=scan_pb2.RECEIPT_ENCODING_CALLS)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.GetReceipt(request, metadata=anywhere(), timeout=10)
    assert reason_of(caught.value) == "RECEIPT_NOT_READY"


async def test_an_encoding_that_there_is_none(stub: Stub, database: Database) -> None:
    batch = await database.batch(3, state="COMPLETED")
    encoding: Any = 7
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.GetReceipt(
            scan_pb2.GetReceiptRequest(token=batch.tokens[0], encoding=encoding), metadata=anywhere(), timeout=10
        )
    assert reason_of(caught.value) == "VALIDATION_FAILED"


@pytest.mark.parametrize("state", [None, PENDING, SUBMITTED, MINED])
async def test_a_receipt_is_pending_until_its_anchor_is_final(
    stub: Stub, database: Database, anchor: FakeAnchor, state: int | None
) -> None:
    batch = await database.batch(3, state="ANCHORING")
    if state is not None:
        put(anchor, batch, state)
    found = await receipt(stub, batch.tokens[2])
    assert found.state is ReceiptState.PENDING
    assert verify(found).pending
    assert found.chain is None
    assert (found.anchor is not None) == (state in {SUBMITTED, MINED})


async def test_no_receipt_before_there_is_a_tree(stub: Stub, database: Database) -> None:
    batch = await database.batch()
    assert await refused(stub, batch.tokens[0]) == (grpc.StatusCode.FAILED_PRECONDITION, "RECEIPT_NOT_READY")


async def test_no_receipt_for_what_is_not_ours(stub: Stub, database: Database) -> None:
    batch = await database.batch(state="COMPLETED")
    not_found = (grpc.StatusCode.NOT_FOUND, "PRODUCT_NOT_FOUND")
    forged = batch.tokens[0][:-2] + ("00" if batch.tokens[0][-2:] != "00" else "04")
    assert await refused(stub, forged) == not_found
    assert await refused(stub, token_of(new_id())) == not_found
    assert await refused(stub, token_of(batch.product_ids[0], 2)) == not_found
    malformed = (grpc.StatusCode.INVALID_ARGUMENT, "TOKEN_MALFORMED")
    assert await refused(stub, batch.tokens[0].lower()) == malformed


async def test_a_receipt_that_would_not_verify_is_not_given(
    stub: Stub, database: Database, anchor: FakeAnchor, service: Service
) -> None:
    batch = await database.batch(2, state="COMPLETED")
    anchor.put(batch.batch_id.bytes, str(batch.batch_id), bytes(32), 2, state=FINAL)
    assert await refused(stub, batch.tokens[0]) == (grpc.StatusCode.INTERNAL, "INTERNAL")
    assert "ReceiptUnsoundError" in service.log.read_text()


async def test_without_the_anchor_service_callers_are_told_to_come_back(
    database: Database, valkey: ValkeyAddress, tmp_path: Path
) -> None:
    anchor = FakeAnchor()  # type: ignore[abstract]
    await anchor.start()
    service = Service(tmp_path, database, valkey.url, anchor.target)
    await service.start()
    batch = await database.batch(state="COMPLETED")
    put(anchor, batch, FINAL)
    other = await database.batch(state="COMPLETED")
    async with grpc.aio.insecure_channel(service.target) as channel:
        stub = stub_of(channel)
        assert (await receipt(stub, batch.tokens[0])).state is ReceiptState.FINAL
        await anchor.stop()
        assert (await receipt(stub, batch.tokens[0])).state is ReceiptState.FINAL, "final proofs are remembered"
        assert await refused(stub, other.tokens[0]) == (grpc.StatusCode.UNAVAILABLE, "DEPENDENCY_UNAVAILABLE")
    await service.stop()
