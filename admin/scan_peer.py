"""The scan service, as admin asks it."""

from collections.abc import Awaitable
from typing import Any, TypeVar
from uuid import UUID

from grpc.aio import AioRpcError, Channel
from voketag.scan.v1 import ruling_pb2, ruling_pb2_grpc, scan_pb2, scan_pb2_grpc

from admin import fraud_convert as convert
from admin.rulings import Ruling, Wanted
from mesh.errors import (
    BatchNotFound,
    CaseNotFound,
    KeyNotFound,
    ProductNotFound,
    ReportStateConflict,
    RulingNotFound,
)
from mesh.relay import relayed

SCAN_SECONDS = 5.0
PASSED_ON = (BatchNotFound, CaseNotFound, KeyNotFound, ProductNotFound, ReportStateConflict, RulingNotFound)
T = TypeVar("T")


class ScanPeer:
    """Asks over one channel, on which admin proves who it is."""

    def __init__(self, channel: Channel) -> None:
        self._rulings: Any = ruling_pb2_grpc.RulingServiceStub(channel)
        self._scans: Any = scan_pb2_grpc.ScanServiceStub(channel)

    async def rule(self, request_id: UUID, wanted: Wanted, ruled_by: UUID) -> Ruling:
        """See admin.rulings.Scan."""
        field, value = convert.subject_field(wanted.kind, wanted.subject)
        request = ruling_pb2.RuleRequest(
            request_id=str(request_id), lift=wanted.lifts, note=wanted.note, ruled_by=str(ruled_by)
        )
        setattr(request, field, value)
        answer: ruling_pb2.RuleResponse = await _asked(self._rulings.Rule(request, timeout=SCAN_SECONDS))
        return convert.ruling(answer.ruling)

    async def set_state(self, request_id: UUID, case_id: UUID, *, state: str, expected: str, note: str) -> None:
        """See admin.fraud_cases.Scan."""
        request = scan_pb2.SetReportStateRequest(
            request_id=str(request_id),
            case_id=str(case_id),
            state=scan_pb2.ReportState.Value(f"REPORT_STATE_{state}"),
            expected_state=scan_pb2.ReportState.Value(f"REPORT_STATE_{expected}"),
            note=note,
        )
        await _asked(self._scans.SetReportState(request, timeout=SCAN_SECONDS))


async def _asked(call: Awaitable[T]) -> T:
    try:
        return await call
    except AioRpcError as error:
        raise relayed(error, "scan", PASSED_ON) from error
