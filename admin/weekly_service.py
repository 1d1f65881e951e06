"""WeeklyReportService: what factories are told of a week."""

from typing import Any
from uuid import UUID

from voketag.admin.v1 import weekly_pb2 as pb
from voketag.admin.v1 import weekly_pb2_grpc

from admin.convert import factory_id, timestamp
from admin.export_convert import link_message
from admin.week_reports import WeekReport, WeekReports
from mesh.idempotency import RequestKey
from mesh.identity import caller

_MAKE = "/voketag.admin.v1.WeeklyReportService/MakeWeeklyReport"


class WeeklyReportService(weekly_pb2_grpc.WeeklyReportServiceServicer):
    """See proto/voketag/admin/v1/weekly.proto."""

    def __init__(self, reports: WeekReports) -> None:
        self._reports = reports

    async def ListWeeklyReports(
        self, request: pb.ListWeeklyReportsRequest, context: Any
    ) -> pb.ListWeeklyReportsResponse:
        """A page of reports."""
        found, more = await self._reports.list(
            caller(), factory_id(request.factory_id), page_size=request.page_size, page_token=request.page_token
        )
        return pb.ListWeeklyReportsResponse(reports=map(_message, found), next_page_token=more)

    async def GetWeeklyReport(self, request: pb.GetWeeklyReportRequest, context: Any) -> pb.GetWeeklyReportResponse:
        """Finds a report."""
        report = await self._reports.get(caller(), UUID(request.report_id))
        return pb.GetWeeklyReportResponse(report=_message(report))

    async def MakeWeeklyReport(self, request: pb.MakeWeeklyReportRequest, context: Any) -> pb.MakeWeeklyReportResponse:
        """Orders a report."""
        report = await self._reports.make(
            caller(),
            RequestKey.of(_MAKE, request.request_id, request),
            factory_id=factory_id(request.factory_id),
            week=request.week,
            language=request.language,
        )
        return pb.MakeWeeklyReportResponse(report=_message(report))


def _message(report: WeekReport) -> pb.WeeklyReport:
    return pb.WeeklyReport(
        report_id=str(report.report_id),
        factory_id=str(report.factory_id),
        week=report.week.name,
        language=report.language,
        state=pb.WeeklyReportState.Value(f"WEEKLY_REPORT_STATE_{report.state}"),
        pdf=link_message(report.pdf) if report.pdf else None,
        xlsx=link_message(report.xlsx) if report.xlsx else None,
        create_time=timestamp(report.created_at),
        finish_time=timestamp(report.finished_at) if report.finished_at else None,
    )
