"""The figures of the canned server."""

from voketag.admin.v1 import dashboard_pb2 as pb
from voketag.admin.v1 import dashboard_pb2_grpc
from voketag.factory.v1 import factory_pb2

from tests.acceptance.edge.canned_hooks import NOW, Context, Hooks

COUNTS = pb.ScanFigures(
    scans=2,
    genuine_code=1,
    suspicious=1,
    likely_copy=1,
    blocked=1,
    unknown_code=1,
    risks=[1] * 10,
    not_scored=1,
    average_risk=1.5,
    first_scans=1,
    re_scans=1,
)
SCANS = pb.ScanSeries(as_of=NOW, total=COUNTS, points=[pb.ScanPoint(start_time=NOW, figures=COUNTS, products=1)])
COUNTRIES = pb.CountryList(as_of=NOW, countries=[pb.CountryScans(country_code="BR", scans=1)])
PRODUCTS = pb.ProductList(
    as_of=NOW, products=[pb.ProductScans(product_id="1", scans=1, scans_at_most=1)], unlisted_at_most=1
)
FACTORIES = pb.FactoryList(as_of=NOW, factories=[pb.FactoryScans(factory_id="1", name="One", scans=1, suspected=1)])
BATCHES = pb.BatchSeries(
    as_of=NOW,
    batches=1,
    products=1,
    states=[pb.StateBatches(state=factory_pb2.BATCH_STATE_COMPLETED, batches=1, products=1)],
    days=[pb.BatchDay(start_time=NOW, batches=1, products=1)],
)
WINDOWS = pb.AnchoringFigures(
    windows=1, roots=1, gas_used=1, fee_wei="1", average_lag_seconds=1.5, longest_lag_seconds=1.5
)
ANCHORING = pb.AnchoringSeries(
    as_of=NOW,
    total=WINDOWS,
    days=[pb.AnchoringDay(start_time=NOW, figures=WINDOWS)],
    waiting_roots=1,
    oldest_root_time=NOW,
)
JOB = pb.JobFigures(queue="factory", job="build", waiting=1, running=1, held=1, oldest_due_time=NOW)


class Figures(dashboard_pb2_grpc.DashboardServiceServicer, Hooks):
    """Answers with every figure there is; the period asked for begins the first point."""

    async def GetDashboard(self, request: pb.GetDashboardRequest, context: Context) -> pb.GetDashboardResponse:
        self.seen(context)
        return pb.GetDashboardResponse(
            totals=pb.ScanTotals(as_of=NOW, ever=COUNTS, today=COUNTS),
            scans=SCANS,
            countries=COUNTRIES,
            products=PRODUCTS,
            factories=FACTORIES,
            batches=BATCHES,
            anchoring=ANCHORING,
            jobs=pb.JobList(as_of=NOW, jobs=[JOB]),
            accounts=pb.AccountTotals(as_of=NOW, users=1, factories=1),
        )

    async def GetAnalytics(self, request: pb.GetAnalyticsRequest, context: Context) -> pb.GetAnalyticsResponse:
        self.seen(context)
        scans = pb.ScanSeries(
            as_of=NOW, total=COUNTS, points=[pb.ScanPoint(start_time=request.from_time, figures=COUNTS, products=1)]
        )
        return pb.GetAnalyticsResponse(
            scans=scans,
            countries=COUNTRIES,
            products=PRODUCTS,
            factories=FACTORIES,
            batches=BATCHES,
            anchoring=ANCHORING,
        )
