"""DashboardService: figures, for people."""

from typing import Any

from voketag.admin.v1 import dashboard_pb2 as pb
from voketag.admin.v1 import dashboard_pb2_grpc

from admin import dashboard_convert as convert
from admin.convert import factory_id
from admin.figures import Figures, scope
from mesh.identity import caller
from mesh.moments import moment


class DashboardService(dashboard_pb2_grpc.DashboardServiceServicer):
    """See proto/voketag/admin/v1/dashboard.proto."""

    def __init__(self, figures: Figures) -> None:
        self._figures = figures

    async def GetDashboard(self, request: pb.GetDashboardRequest, context: Any) -> pb.GetDashboardResponse:
        """How things are."""
        told = await self._figures.dashboard(scope(caller(), factory_id(request.factory_id)))
        return convert.dashboard_message(told)

    async def GetAnalytics(self, request: pb.GetAnalyticsRequest, context: Any) -> pb.GetAnalyticsResponse:
        """The figures of a period."""
        told = await self._figures.analytics(
            scope(caller(), factory_id(request.factory_id)),
            convert.grain(request),
            moment("from_time", request.from_time),
            moment("to_time", request.to_time),
            parts=convert.parts(request),
        )
        return convert.analytics_message(told)
