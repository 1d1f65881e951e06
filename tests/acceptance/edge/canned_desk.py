"""The fraud desk's methods of the canned server."""

from voketag.admin.v1 import fraud_pb2 as desk
from voketag.admin.v1 import fraud_pb2_grpc
from voketag.scan.v1 import ruling_pb2, ruling_pb2_grpc

from tests.acceptance.edge.canned_hooks import NOW, Context, Hooks

RULING = ruling_pb2.Ruling(ruling_id="1", block_product_id="1", ruling_time=NOW)
REPORT = desk.FraudReport(case_id="1", report_time=NOW, notes=[desk.CaseNote(note_time=NOW)])
SCAN = desk.ScanRecord(event_id="1", risk=1, scan_time=NOW, factors=[desk.FactorScore(score=1)])
ENTRIES = [
    desk.TimelineEntry(entry_time=NOW, scan=SCAN),
    desk.TimelineEntry(entry_time=NOW, step=desk.ProductStep(note="why")),
    desk.TimelineEntry(entry_time=NOW, report=desk.ReportOpened(case_id="1")),
    desk.TimelineEntry(entry_time=NOW, ruling=RULING),
]


class Desk(ruling_pb2_grpc.RulingServiceServicer, fraud_pb2_grpc.FraudServiceServicer, Hooks):
    """Answers with one of everything and remembers the metadata of each call."""

    async def Rule(self, request: ruling_pb2.RuleRequest, context: Context) -> ruling_pb2.RuleResponse:
        self.seen(context)
        return ruling_pb2.RuleResponse(ruling=RULING)

    async def ListSuspiciousScans(
        self, request: desk.ListSuspiciousScansRequest, context: Context
    ) -> desk.ListSuspiciousScansResponse:
        self.seen(context)
        since = request.since.ToJsonString() if request.HasField("since") else ""
        return desk.ListSuspiciousScansResponse(scans=[SCAN], next_page_token=f"{request.page_size} {since}")

    async def GetProductTimeline(
        self, request: desk.GetProductTimelineRequest, context: Context
    ) -> desk.GetProductTimelineResponse:
        self.seen(context)
        return desk.GetProductTimelineResponse(entries=ENTRIES, next_page_token=f"{request.page_size}")

    async def ListFraudReports(
        self, request: desk.ListFraudReportsRequest, context: Context
    ) -> desk.ListFraudReportsResponse:
        self.seen(context)
        return desk.ListFraudReportsResponse(reports=[REPORT], next_page_token=f"{request.page_size}")

    async def GetFraudReport(
        self, request: desk.GetFraudReportRequest, context: Context
    ) -> desk.GetFraudReportResponse:
        self.seen(context)
        return desk.GetFraudReportResponse(report=REPORT)

    async def UpdateFraudReport(
        self, request: desk.UpdateFraudReportRequest, context: Context
    ) -> desk.UpdateFraudReportResponse:
        self.seen(context)
        return desk.UpdateFraudReportResponse(report=REPORT)

    async def BlockProduct(self, request: desk.BlockProductRequest, context: Context) -> desk.BlockProductResponse:
        self.seen(context)
        return desk.BlockProductResponse(ruling=RULING)

    async def BlockBatch(self, request: desk.BlockBatchRequest, context: Context) -> desk.BlockBatchResponse:
        self.seen(context)
        return desk.BlockBatchResponse(ruling=RULING)

    async def RevokeKid(self, request: desk.RevokeKidRequest, context: Context) -> desk.RevokeKidResponse:
        self.seen(context)
        return desk.RevokeKidResponse(ruling=RULING)

    async def ClearProduct(self, request: desk.ClearProductRequest, context: Context) -> desk.ClearProductResponse:
        self.seen(context)
        return desk.ClearProductResponse(ruling=RULING)
