"""Protobuf ↔ dataclass, of figures."""

from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp
from voketag.admin.v1 import dashboard_pb2 as pb
from voketag.factory.v1 import factory_pb2

from admin import figures
from admin.convert import timestamp
from admin.counting import DAY, HOUR, RISKS
from admin.figures import Batches, Told, Windows, all_windows, total

PARTS: Mapping[int, str] = {
    pb.METRIC_SCANS: figures.SCANS,
    pb.METRIC_COUNTRIES: figures.COUNTRIES,
    pb.METRIC_PRODUCTS: figures.PRODUCTS,
    pb.METRIC_FACTORIES: figures.FACTORIES,
    pb.METRIC_BATCHES: figures.BATCHES,
    pb.METRIC_ANCHORING: figures.ANCHORING,
}


def parts(request: pb.GetAnalyticsRequest) -> frozenset[str]:
    """The parts asked for."""
    return frozenset(PARTS[metric] for metric in request.metrics)


def grain(request: pb.GetAnalyticsRequest) -> str:
    """How long the spans are."""
    return HOUR if request.granularity == pb.GRANULARITY_HOUR else DAY


def dashboard_message(told: Told) -> pb.GetDashboardResponse:
    """How things are."""
    response = pb.GetDashboardResponse(**dict(_common(told)))
    if figures.TOTALS in told.parts:
        assert told.ever is not None
        assert told.today is not None
        response.totals.CopyFrom(
            pb.ScanTotals(as_of=_as_of(told, "scans"), ever=scan_figures(told.ever), today=scan_figures(told.today))
        )
    if figures.JOBS in told.parts:
        response.jobs.CopyFrom(pb.JobList(as_of=_as_of(told, "jobs"), jobs=map(_job, told.jobs)))
    if figures.ACCOUNTS in told.parts:
        accounts = pb.AccountTotals(as_of=_as_of(told, "factories"), users=told.users, factories=told.factory_count)
        response.accounts.CopyFrom(accounts)
    return response


def analytics_message(told: Told) -> pb.GetAnalyticsResponse:
    """The figures of a period."""
    return pb.GetAnalyticsResponse(**dict(_common(told)))


def _common(told: Told) -> Iterator[tuple[str, Any]]:
    as_of = _as_of(told, "scans")
    if figures.SCANS in told.parts:
        points = [
            pb.ScanPoint(
                start_time=timestamp(point.since),
                figures=scan_figures(point.counts),
                products=point.counts.get("products", 0),
            )
            for point in told.points
        ]
        yield "scans", pb.ScanSeries(as_of=as_of, total=scan_figures(total(told.points)), points=points)
    if figures.COUNTRIES in told.parts:
        countries = [pb.CountryScans(country_code=country, scans=scans) for country, scans in told.countries]
        yield "countries", pb.CountryList(as_of=as_of, countries=countries)
    if figures.PRODUCTS in told.parts:
        products = [
            pb.ProductScans(product_id=str(row.product_id), scans=row.scans, scans_at_most=row.at_most)
            for row in told.products
        ]
        yield "products", pb.ProductList(as_of=as_of, products=products, unlisted_at_most=told.unlisted_at_most)
    if figures.FACTORIES in told.parts:
        factories = [
            pb.FactoryScans(factory_id=str(row.factory_id), name=row.name, scans=row.scans, suspected=row.suspected)
            for row in told.factories
        ]
        yield "factories", pb.FactoryList(as_of=as_of, factories=factories)
    if figures.BATCHES in told.parts:
        yield "batches", _batches(told)
    if figures.ANCHORING in told.parts:
        yield "anchoring", _anchoring(told)


def scan_figures(counts: Mapping[str, int]) -> pb.ScanFigures:
    """Scans that were counted together."""

    def of(name: str) -> int:
        return counts.get(name) or 0

    risks = [of(name) for name in RISKS]
    scored = sum(risks)
    return pb.ScanFigures(
        scans=of("scans"),
        genuine_code=of("genuine"),
        suspicious=of("suspicious"),
        likely_copy=of("likely_copy"),
        blocked=of("blocked"),
        unknown_code=of("unknown"),
        risks=risks,
        not_scored=of("scans") - scored,
        average_risk=of("risk_total") / scored if scored else 0,
        first_scans=of("first_scans"),
        re_scans=of("scans") - of("first_scans"),
    )


def _batches(told: Told) -> pb.BatchSeries:
    states = told.states or {}
    return pb.BatchSeries(
        as_of=_as_of(told, "batches"),
        batches=sum(found.batches for found in states.values()),
        products=sum(found.products for found in states.values()),
        states=sorted((_state(name, found) for name, found in states.items()), key=lambda row: row.state),
        days=[
            pb.BatchDay(start_time=timestamp(since), batches=found.batches, products=found.products)
            for since, found in told.batch_days
        ],
    )


def _state(name: str, found: Batches) -> pb.StateBatches:
    state = factory_pb2.BatchState.Value(f"BATCH_STATE_{name}")
    return pb.StateBatches(state=state, batches=found.batches, products=found.products)


def _anchoring(told: Told) -> pb.AnchoringSeries:
    return pb.AnchoringSeries(
        as_of=_as_of(told, "windows"),
        total=_windows(all_windows(told.window_days)),
        days=[
            pb.AnchoringDay(start_time=timestamp(since), figures=_windows(found)) for since, found in told.window_days
        ],
        waiting_roots=told.waiting_roots,
        oldest_root_time=timestamp(told.oldest_root) if told.oldest_root is not None else None,
    )


def _windows(found: Windows) -> pb.AnchoringFigures:
    return pb.AnchoringFigures(
        windows=found.windows,
        roots=found.roots,
        gas_used=found.gas_used,
        fee_wei=str(int(Decimal(found.fee_wei))),
        average_lag_seconds=found.total_ms / found.roots / 1000 if found.roots else 0,
        longest_lag_seconds=found.most_ms / 1000,
    )


def _job(job: figures.Job) -> pb.JobFigures:
    return pb.JobFigures(
        queue=job.queue,
        job=job.job,
        waiting=job.waiting,
        running=job.running,
        held=job.held,
        oldest_due_time=timestamp(job.oldest_at) if job.oldest_at is not None else None,
    )


def _as_of(told: Told, source: str) -> Timestamp | None:
    at = told.as_of.get(source)
    return timestamp(at) if at is not None else None
