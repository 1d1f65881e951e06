"""Exports and weekly reports out of their parts: what the server serves of them, and the worker."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from types import ModuleType
from typing import Any

from voketag.admin.v1 import export_pb2, export_pb2_grpc, weekly_pb2, weekly_pb2_grpc

from admin.config import AdminSettings, WorkerSettings, secret_bytes
from admin.export_making import ExportMaking
from admin.export_orders import ExportOrders
from admin.export_service import ExportService
from admin.exports import Exports
from admin.files import Files, Links
from admin.maintenance import Maintenance
from admin.store import Store
from admin.week_making import WeekMaking
from admin.week_reports import WeekReports
from admin.weekly_service import WeeklyReportService
from admin.worker import AdminWorker
from mesh import database
from mesh.clock import Clock, SystemClock, new_id
from mesh.jobs import Jobs, Worker
from mesh.paging import PageTokens

OTHERS_AT_ONCE = 4


@dataclass(frozen=True, slots=True)
class FileServices:
    """Of the server's parts; `close` is for when it drains."""

    contracts: Sequence[ModuleType]
    register: Sequence[tuple[Callable[[Any, Any], None], object]]
    close: Callable[[], None]


def file_services(settings: AdminSettings, store: Store, clock: Clock) -> FileServices:
    """Exports, orders, downloads and weekly reports."""
    key, jobs = secret_bytes(settings.page_key.get_secret_value()), Jobs("admin")
    files, links, exports = Files(store, clock), Links(key, clock), Exports(store)
    pages = PageTokens(key)
    orders = ExportOrders(store, jobs, links, pages, clock, new_id=new_id)
    weekly = WeekReports(
        store,
        jobs,
        files,
        links,
        pages=pages,
        clock=clock,
        new_id=new_id,
        language=settings.report_language,
    )
    return FileServices(
        contracts=[export_pb2, weekly_pb2],
        register=[
            (export_pb2_grpc.add_ExportServiceServicer_to_server, ExportService(exports, orders, files, links)),
            (weekly_pb2_grpc.add_WeeklyReportServiceServicer_to_server, WeeklyReportService(weekly)),
        ],
        close=exports.close,
    )


async def work(settings: WorkerSettings) -> None:
    """Works until SIGTERM or SIGINT. Raises DependencyUnavailable when PostgreSQL is away at start."""
    clock, jobs, random = SystemClock(), Jobs("admin"), Random()  # noqa: S311 - spreads jobs, keeps no secret
    async with await database.connect(settings, schema="admin") as pool:
        store = Store(pool)
        weekly = WeekMaking(store, jobs, clock, new_id=new_id, random=random, language=settings.report_language)
        # An export takes as long as its table is large: nothing else waits for it.
        kinds = (
            (ExportMaking(store, clock, new_id=new_id).handlers(), settings.exports_at_once),
            (Maintenance(store, jobs, clock).handlers() | weekly.handlers(), OTHERS_AT_ONCE),
        )
        workers = [
            Worker(
                settings,
                schema="admin",
                handlers=handlers,
                random=random,
                clock=clock,
                concurrency=concurrency,
                lease_seconds=settings.lease_seconds,
            )
            for handlers, concurrency in kinds
        ]
        await AdminWorker(workers).run()
