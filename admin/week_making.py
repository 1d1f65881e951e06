"""The worker's side of weekly reports: one for each factory when a week is over, and those that were ordered.

A report of a week that is over waits until its scans are counted. Both files are written under new numbers, and take
the place of those from before in one transaction: dies the worker earlier, nobody sees anything of them.
"""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from random import Random
from uuid import UUID

import structlog

from admin.exports import MEDIA_TYPES
from admin.files import LINK_LASTS, FileWriter
from admin.store import Store
from admin.week_pdf import week_pdf
from admin.week_reports import MAKE_WEEK
from admin.week_tables import sections
from admin.week_texts import texts
from admin.week_xlsx import week_xlsx
from admin.weeks import Week, WeekFigures, Weeks
from mesh.clock import Clock, IdSource
from mesh.errors import DependencyUnavailable, FactoryNotFound
from mesh.jobs import Again, Handler, Job, Jobs
from mesh.schedule import HOUR, Schedule
from mesh.tables import TableFormat

log = structlog.get_logger()
ORDER_WEEKS = "weekly.order"
KEPT = timedelta(days=400)
UNFINISHED_KEPT = timedelta(days=1)
AWAY_SECONDS, UNCOUNTED_SECONDS = 5.0, 10.0
AT_ONCE = 500
SPREAD_SECONDS = 1800.0
ATTEMPTS = 5
PDF = "application/pdf"


class WeekMaking:
    """Orders and makes reports. Every step can be broken off anywhere and run again."""

    def __init__(
        self, store: Store, jobs: Jobs, clock: Clock, *, new_id: IdSource, random: Random, language: str
    ) -> None:
        self._store = store
        self._jobs = jobs
        self._clock = clock
        self._weeks = Weeks(store, clock)
        self._new_id = new_id
        self._random = random
        self._language = language

    def handlers(self) -> dict[str, Handler]:
        """By name of the job."""
        return {
            MAKE_WEEK: Handler(self.make, self.fail, max_attempts=ATTEMPTS),
            ORDER_WEEKS: Handler(self.order, self.give_up, schedule=Schedule(HOUR)),
        }

    async def order(self, job: Job) -> None:
        """Orders the last week's report for every factory that has none, spread over half an hour."""
        week = Week.last(self._clock.now())
        try:
            while ordered := await self._order(week):
                log.info("weekly reports ordered", week=week.name, count=ordered)
                if job.stopping.is_set():
                    raise Again(0, "the worker stops")
        except DependencyUnavailable as away:
            raise Again(AWAY_SECONDS, str(away)) from away

    async def give_up(self, job: Job, reason: str) -> None:
        """A worker that starts begins it anew."""
        log.error("standing job given up", job=job.name, reason=reason)

    async def make(self, job: Job) -> None:
        """Makes the files of a report. Raises Again while its week is not counted, or PostgreSQL is away."""
        report_id = UUID(bytes=job.payload)
        try:
            async with self._store.connection() as connection:
                row = await self._store.sql.select_week(connection, report_id=report_id, factory_id=None)
            if row is None:
                return
            week = Week(row["week"])
            figures = await self._weeks.look_up(row["factory_id"], week)
            if week.until <= self._clock.now() and (figures.as_of is None or figures.as_of < week.until):
                raise Again(UNCOUNTED_SECONDS, "the week is not counted to its end")
            await self._make(report_id, figures, row["language"])
        except FactoryNotFound as new:
            raise Again(UNCOUNTED_SECONDS, "the factory is not counted yet") from new
        except DependencyUnavailable as away:
            raise Again(AWAY_SECONDS, str(away)) from away

    async def fail(self, job: Job, reason: str) -> None:
        """Gives a report up."""
        report_id = UUID(bytes=job.payload)
        log.error("weekly report given up", report_id=str(report_id), reason=reason)
        async with self._store.connection() as connection:
            await self._store.sql.fail_week(connection, report_id=report_id, now=self._clock.now())

    async def _order(self, week: Week) -> int:
        async with self._store.transaction() as connection:
            rows = self._store.sql.insert_missing_weeks(
                connection, week=week.monday, language=self._language, most=AT_ONCE
            )
            reports: list[UUID] = [row["report_id"] async for row in rows]
            for report_id in reports:
                delay = self._random.uniform(0, SPREAD_SECONDS)
                await self._jobs.enqueue(connection, MAKE_WEEK, report_id.bytes, delay=delay)
        return len(reports)

    async def _make(self, report_id: UUID, figures: WeekFigures, language: str) -> None:
        t = texts(language)
        tables = sections(figures, t)
        name = f"{figures.week.name}.{language}"
        pdf = await self._file(f"{name}.pdf", PDF, lambda: week_pdf(figures, tables, t))
        xlsx = await self._file(f"{name}.xlsx", MEDIA_TYPES[TableFormat.XLSX], lambda: week_xlsx(figures, tables, t))
        sql, now = self._store.sql, self._clock.now()
        async with self._store.transaction() as connection:
            before = await sql.lock_week(connection, report_id=report_id)
            for file in (pdf, xlsx):
                await file.finish(connection)
                await sql.keep_file(connection, file_id=file.file_id, expires_at=now + KEPT)
            await sql.finish_week(
                connection, report_id=report_id, pdf_file=pdf.file_id, xlsx_file=xlsx.file_id, now=now
            )
            for old in filter(None, before):  # whoever has a link may still follow it
                await sql.keep_file(connection, file_id=old, expires_at=now + LINK_LASTS)
        log.info("weekly report made", report_id=str(report_id), week=figures.week.name)

    async def _file(self, name: str, media_type: str, draw: Callable[[], bytes]) -> FileWriter:
        """A file that is written and not whole yet. Drawing takes a while: the worker goes on beside it."""
        content = await asyncio.to_thread(draw)
        file = FileWriter(self._store, self._new_id())
        async with self._store.connection() as connection:
            await self._store.sql.insert_file(
                connection,
                file_id=file.file_id,
                name=name,
                media_type=media_type,
                expires_at=self._clock.now() + UNFINISHED_KEPT,
            )
        await file.add(content)
        await file.flush()
        return file
