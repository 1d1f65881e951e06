"""Calls of the scan service, and what came of them."""

from typing import TypeAlias

from google.rpc import error_details_pb2
from grpc.aio import AioRpcError
from grpc_status import rpc_status
from voketag.scan.v1 import scan_pb2, scan_pb2_grpc

from tests.integration.scan.world import anywhere

Stub: TypeAlias = "scan_pb2_grpc.ScanServiceAsyncStub"

P, F, N = scan_pb2.CHECK_OUTCOME_PASSED, scan_pb2.CHECK_OUTCOME_FAILED, scan_pb2.CHECK_OUTCOME_NOT_CHECKED
GENUINE, BLOCKED, UNKNOWN = scan_pb2.VERDICT_GENUINE_CODE, scan_pb2.VERDICT_BLOCKED, scan_pb2.VERDICT_UNKNOWN_CODE


async def verify(
    stub: Stub, token: str, *, typed: bool = False, metadata: tuple[tuple[str, str], ...] | None = None
) -> scan_pb2.VerifyResponse:
    request = scan_pb2.VerifyRequest(token=token, typed=typed)
    return await stub.Verify(request, metadata=metadata or anywhere(), timeout=10)


def outcomes(answer: scan_pb2.VerifyResponse) -> list[int]:
    """What came of tag, product, scan history and anchor."""
    assert [check.name for check in answer.checks] == [
        scan_pb2.CHECK_NAME_TAG,
        scan_pb2.CHECK_NAME_PRODUCT,
        scan_pb2.CHECK_NAME_SCAN_HISTORY,
        scan_pb2.CHECK_NAME_ANCHOR,
    ]
    return [check.outcome for check in answer.checks]


def reason_of(error: AioRpcError) -> str:
    """The reason in the error's one ErrorInfo."""
    status = rpc_status.from_call(error)
    assert status is not None
    infos = [detail for detail in status.details if detail.Is(error_details_pb2.ErrorInfo.DESCRIPTOR)]
    assert len(infos) == 1
    info = error_details_pb2.ErrorInfo()
    infos[0].Unpack(info)
    return info.reason
