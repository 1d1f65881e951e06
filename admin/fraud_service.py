"""FraudService: the fraud desk."""

from typing import Any
from uuid import UUID

from google.protobuf.message import Message
from voketag.admin.v1 import fraud_pb2 as pb
from voketag.admin.v1 import fraud_pb2_grpc
from voketag.scan.v1 import ruling_pb2

from admin import fraud_convert as convert
from admin.fraud_cases import FraudCases
from admin.rulings import Rulings, Wanted
from admin.suspicious import SuspiciousScans
from admin.timeline import Timelines
from mesh.idempotency import RequestKey
from mesh.identity import caller

_SERVICE = "/voketag.admin.v1.FraudService/"


class FraudService(fraud_pb2_grpc.FraudServiceServicer):
    """See proto/voketag/admin/v1/fraud.proto."""

    def __init__(self, scans: SuspiciousScans, timelines: Timelines, cases: FraudCases, rulings: Rulings) -> None:
        self._scans = scans
        self._timelines = timelines
        self._cases = cases
        self._rulings = rulings

    async def ListSuspiciousScans(
        self, request: pb.ListSuspiciousScansRequest, context: Any
    ) -> pb.ListSuspiciousScansResponse:
        """A page of scans."""
        scans, more = await self._scans.list(
            caller(), convert.wanted(request), page_size=request.page_size, page_token=request.page_token
        )
        return pb.ListSuspiciousScansResponse(scans=map(convert.scan_message, scans), next_page_token=more)

    async def GetProductTimeline(
        self, request: pb.GetProductTimelineRequest, context: Any
    ) -> pb.GetProductTimelineResponse:
        """A page of a product's line in time."""
        entries, more = await self._timelines.page(
            caller(), UUID(request.product_id), page_size=request.page_size, page_token=request.page_token
        )
        return pb.GetProductTimelineResponse(entries=map(convert.entry_message, entries), next_page_token=more)

    async def ListFraudReports(self, request: pb.ListFraudReportsRequest, context: Any) -> pb.ListFraudReportsResponse:
        """A page of cases."""
        cases, more = await self._cases.list(
            caller(), convert.wanted_cases(request), page_size=request.page_size, page_token=request.page_token
        )
        return pb.ListFraudReportsResponse(reports=map(convert.case_message, cases), next_page_token=more)

    async def GetFraudReport(self, request: pb.GetFraudReportRequest, context: Any) -> pb.GetFraudReportResponse:
        """A case with its notes."""
        return pb.GetFraudReportResponse(report=convert.case_message(await self._cases.get(UUID(request.case_id))))

    async def UpdateFraudReport(
        self, request: pb.UpdateFraudReportRequest, context: Any
    ) -> pb.UpdateFraudReportResponse:
        """Decides a case, gives it to somebody, notes something."""
        key = RequestKey.of(f"{_SERVICE}UpdateFraudReport", request.request_id, request)
        case = await self._cases.update(caller(), key, UUID(request.case_id), convert.change(request))
        return pb.UpdateFraudReportResponse(report=convert.case_message(case))

    async def BlockProduct(self, request: pb.BlockProductRequest, context: Any) -> pb.BlockProductResponse:
        """Blocks a product."""
        subject = f"product/{UUID(request.product_id)}"
        return pb.BlockProductResponse(ruling=await self._rule("BlockProduct", request, "BLOCK", subject))

    async def BlockBatch(self, request: pb.BlockBatchRequest, context: Any) -> pb.BlockBatchResponse:
        """Blocks a batch."""
        subject = f"batch/{UUID(request.batch_id)}"
        return pb.BlockBatchResponse(ruling=await self._rule("BlockBatch", request, "BLOCK", subject))

    async def RevokeKid(self, request: pb.RevokeKidRequest, context: Any) -> pb.RevokeKidResponse:
        """Revokes a key."""
        return pb.RevokeKidResponse(ruling=await self._rule("RevokeKid", request, "REVOKE", f"key/{request.kid}"))

    async def ClearProduct(self, request: pb.ClearProductRequest, context: Any) -> pb.ClearProductResponse:
        """Clears a product."""
        subject = f"product/{UUID(request.product_id)}"
        return pb.ClearProductResponse(ruling=await self._rule("ClearProduct", request, "CLEAR", subject))

    async def _rule(self, method: str, request: Any, kind: str, subject: str) -> ruling_pb2.Ruling:
        message: Message = request
        key = RequestKey.of(f"{_SERVICE}{method}", request.request_id, message)
        made = await self._rulings.rule(caller(), key, Wanted(kind, subject, request.lift, request.note))
        return convert.ruling_message(made)
