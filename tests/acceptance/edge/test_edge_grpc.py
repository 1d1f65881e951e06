"""gRPC and gRPC-Web through the edge."""

import struct
from collections.abc import AsyncIterator, Awaitable, Iterable

import grpc
import pytest
from voketag.anchor.v1 import anchor_pb2, anchor_pb2_grpc
from voketag.factory.v1 import factory_pb2, factory_pb2_grpc
from voketag.scan.v1 import scan_pb2, scan_pb2_grpc

from tests.acceptance.edge.door import Edge
from tests.acceptance.edge.shape import assert_error, reason

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def failure(call: Awaitable[object]) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value


async def test_a_unary_call_passes_with_its_metadata(edge: Edge) -> None:
    async with grpc.aio.insecure_channel(edge.public.target) as channel:
        stub = scan_pb2_grpc.ScanServiceStub(channel)
        call = stub.Verify(scan_pb2.VerifyRequest(token="METADATA"), metadata=(("x-api-key", "grpc-key"),))
        assert (await call).verdict == scan_pb2.VERDICT_GENUINE_CODE
    assert [seen for seen in edge.canned.metadata if seen.get("x-api-key") == "grpc-key"]


async def test_an_error_of_a_service_passes_as_it_is(edge: Edge) -> None:
    async with grpc.aio.insecure_channel(edge.public.target) as channel:
        stub = scan_pb2_grpc.ScanServiceStub(channel)
        error = await failure(stub.Verify(scan_pb2.VerifyRequest(token="FAIL-NOT_FOUND-PRODUCT_NOT_FOUND")))
    assert (error.code(), error.details()) == (grpc.StatusCode.NOT_FOUND, "No, «really» not")
    assert reason(error) == "PRODUCT_NOT_FOUND"


async def test_streams_pass_with_messages_far_over_the_json_limit(edge: Edge) -> None:
    async def frames() -> AsyncIterator[factory_pb2.ImportProductsRequest]:
        for number in range(8):
            row = factory_pb2.ImportRow(name="x" * 3_000_000)
            yield factory_pb2.ImportProductsRequest(chunk=factory_pb2.ImportChunk(first_row=number, rows=[row]))

    async with grpc.aio.insecure_channel(edge.public.target) as channel:
        stub = factory_pb2_grpc.FactoryServiceStub(channel)
        acks = [reply.ack.committed_rows async for reply in stub.ImportProducts(frames())]
        watched = [reply.batch.state async for reply in stub.WatchBatch(factory_pb2.WatchBatchRequest())]
    assert acks == list(range(1, 9))
    assert watched == [factory_pb2.BATCH_STATE_PENDING, factory_pb2.BATCH_STATE_COMPLETED]


async def test_a_stream_of_scans_passes_both_ways_at_once(edge: Edge) -> None:
    async with grpc.aio.insecure_channel(edge.public.target) as channel:
        call = scan_pb2_grpc.ScanServiceStub(channel).VerifyStream()
        for number in range(4, 8):
            chunk = scan_pb2.TokenChunk(sequence=number, tokens=["0" * 50] * 500)
            await call.write(scan_pb2.VerifyStreamRequest(chunk=chunk))
            answer = await call.read()
            assert isinstance(answer, scan_pb2.VerifyStreamResponse)
            assert (answer.sequence, len(answer.results)) == (number, 500)
        await call.done_writing()
        assert await call.read() is grpc.aio.EOF


async def test_methods_for_services_are_unimplemented_at_the_edge(edge: Edge) -> None:
    async with grpc.aio.insecure_channel(edge.public.target) as channel:
        error = await failure(anchor_pb2_grpc.AnchorServiceStub(channel).SubmitRoot(anchor_pb2.SubmitRootRequest()))
    assert (error.code(), reason(error)) == (grpc.StatusCode.UNIMPLEMENTED, "REQUEST_REFUSED")
    async with grpc.aio.insecure_channel(edge.internal.target) as channel:
        request = anchor_pb2.SubmitRootRequest(size=7)
        assert (await anchor_pb2_grpc.AnchorServiceStub(channel).SubmitRoot(request)).anchor.size == 7


def frame(message: bytes) -> bytes:
    """A gRPC-Web data frame."""
    return struct.pack(">BI", 0, len(message)) + message


def frames(body: bytes) -> Iterable[tuple[int, bytes]]:
    """The frames of a gRPC-Web body: flags and content."""
    while body:
        flags, length = struct.unpack(">BI", body[:5])
        yield flags, body[5 : 5 + length]
        body = body[5 + length :]


async def test_grpc_web_passes_with_its_trailers(edge: Edge) -> None:
    headers = {"content-type": "application/grpc-web+proto", "x-grpc-web": "1"}
    path = "/voketag.factory.v1.FactoryService/WatchBatch"
    reply = await edge.public.call("POST", path, data=frame(b""), headers=headers)
    *messages, (flags, trailers) = frames(reply.body)
    states = [factory_pb2.WatchBatchResponse.FromString(content).batch.state for _, content in messages]
    assert states == [factory_pb2.BATCH_STATE_PENDING, factory_pb2.BATCH_STATE_COMPLETED]
    assert (flags, b"grpc-status:0" in trailers) == (0x80, True)


async def test_grpc_web_errors_stay_grpc_web(edge: Edge) -> None:
    headers = {"content-type": "application/grpc-web+proto", "x-grpc-web": "1"}
    message = scan_pb2.VerifyRequest(token="FAIL-NOT_FOUND-PRODUCT_NOT_FOUND").SerializeToString()
    path = "/voketag.scan.v1.ScanService/Verify"
    reply = await edge.public.call("POST", path, data=frame(message), headers=headers)
    assert (reply.status, reply.headers["grpc-status"]) == (200, "5")
    assert "grpc-status-details-bin" in reply.headers


async def test_an_unknown_method_over_json_has_no_grpc_in_it(edge: Edge) -> None:
    reply = await edge.public.call("POST", "/v1/anchor", json={})
    assert_error(reply, status=404, code=5, reason="REQUEST_REFUSED")
    assert "grpc-status" not in reply.headers
