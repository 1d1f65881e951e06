"""The weekly reports of the canned server."""

from voketag.admin.v1 import weekly_pb2, weekly_pb2_grpc

from tests.acceptance.edge.canned_exports import FILE
from tests.acceptance.edge.canned_hooks import NOW, Context, Hooks

REPORT = weekly_pb2.WeeklyReport(report_id="1", week="2026-W47", pdf=FILE, xlsx=FILE, create_time=NOW, finish_time=NOW)


class Weekly(weekly_pb2_grpc.WeeklyReportServiceServicer, Hooks):
    """Answers with one report."""

    async def ListWeeklyReports(
        self, request: weekly_pb2.ListWeeklyReportsRequest, context: Context
    ) -> weekly_pb2.ListWeeklyReportsResponse:
        self.seen(context)
        return weekly_pb2.ListWeeklyReportsResponse(reports=[REPORT], next_page_token=f"{request.page_size}")

    async def GetWeeklyReport(
        self, request: weekly_pb2.GetWeeklyReportRequest, context: Context
    ) -> weekly_pb2.GetWeeklyReportResponse:
        self.seen(context)
        return weekly_pb2.GetWeeklyReportResponse(report=REPORT)

    async def MakeWeeklyReport(
        self, request: weekly_pb2.MakeWeeklyReportRequest, context: Context
    ) -> weekly_pb2.MakeWeeklyReportResponse:
        self.seen(context)
        return weekly_pb2.MakeWeeklyReportResponse(report=REPORT)
