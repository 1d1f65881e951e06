"""Weekly reports: made for every factory, held against the raw rows, and read by whom they are for."""

import hashlib
import io
from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import grpc
import openpyxl
import pypdfium2
import pytest
import pytest_asyncio
from voketag.admin.v1 import export_pb2_grpc, weekly_pb2, weekly_pb2_grpc
from voketag.mesh.v1 import access_pb2

from admin.weeks import Week
from tests.databases import Databases
from tests.integration.admin.export_world import Exporter, working
from tests.integration.admin.figures import FigureGround, figure_ground
from tests.integration.admin.raw import People, raw_scan
from tests.integration.admin.world import Person
from tests.integration.factory.world import eventually, reason_of

pytestmark = pytest.mark.asyncio(loop_scope="module")
ONCE: dict[str, Any] = {"scope": "module", "loop_scope": "module"}
LAST = Week.last(datetime.now(UTC))
WAITING, DONE = weekly_pb2.WEEKLY_REPORT_STATE_WAITING, weekly_pb2.WEEKLY_REPORT_STATE_DONE
EVIL = "=1+1 <b>Ação & Cia</b>"


@pytest_asyncio.fixture(**ONCE)
async def place(databases: Databases, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[FigureGround]:
    async with figure_ground(databases, tmp_path_factory.mktemp("weekly")) as place:
        yield place


@pytest_asyncio.fixture(**ONCE)
async def people(place: FigureGround) -> People:
    """Two factories with scans all over the last week, a batch each, and one of them with a name that is a formula."""
    people = await place.people(3, factories=2)
    async with place.ground.owner() as owner:
        await owner.execute("UPDATE factory.factories SET created_at = $1", LAST.since)
        await owner.execute("UPDATE factory.factories SET name = $1 WHERE factory_id = $2", EVIL, people.factories[0])
        for factory in people.factories:
            await owner.execute(
                "INSERT INTO factory.batches (factory_id, batch_id, name, state, template, kid, created_at)"
                " VALUES ($1, $2, $3, 'PENDING', '{}', 1, $4)",
                factory, uuid4(), EVIL, LAST.since + timedelta(hours=1),
            )  # fmt: skip
    rows = []
    for number in range(400):
        product, factory = people.random.choice(list(people.owners.items()))
        at = LAST.since + timedelta(minutes=number * 25)
        rows.append(raw_scan(at, product, factory, people.random, leading_factor=people.random.choice((None, 1, 5))))
    await place.raw.record(rows)
    await place.rollups().run_once()
    return people


class Reader:
    """Somebody who reads reports."""

    def __init__(self, place: FigureGround, person: Person | None = None) -> None:
        self.person = person or place.admin
        self.stub: Any = weekly_pb2_grpc.WeeklyReportServiceStub(place.door.channel)
        self.files = export_pb2_grpc.ExportServiceStub(place.door.channel)

    async def call(self, method: str, **fields: Any) -> Any:
        message = getattr(weekly_pb2, f"{method}Request")
        if method.startswith("Make"):
            fields.setdefault("request_id", str(uuid4()))
        return await getattr(self.stub, method)(message(**fields), metadata=self.person.metadata, timeout=20)

    async def list(self, **fields: Any) -> list[weekly_pb2.WeeklyReport]:
        return list((await self.call("ListWeeklyReports", **fields)).reports)

    async def get(self, report_id: str) -> weekly_pb2.WeeklyReport:
        report: weekly_pb2.WeeklyReport = (await self.call("GetWeeklyReport", report_id=report_id)).report
        return report

    async def make(self, **fields: Any) -> weekly_pb2.WeeklyReport:
        report: weekly_pb2.WeeklyReport = (await self.call("MakeWeeklyReport", **fields)).report
        return report

    async def made(self, report_id: str) -> weekly_pb2.WeeklyReport:
        async def done() -> weekly_pb2.WeeklyReport | None:
            report = await self.get(report_id)
            return report if report.state == DONE else None

        found: weekly_pb2.WeeklyReport | None = await eventually(done, within=60)
        assert found is not None
        return found

    async def fetch(self, link: Any) -> bytes:
        file = await Exporter(self.person).fetch(link.link)
        assert hashlib.sha256(file).digest() == link.sha256
        return file


async def refused(call: object) -> str:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await call  # type: ignore[misc]
    return reason_of(error.value)


def text_of(pdf: bytes) -> str:
    document = pypdfium2.PdfDocument(pdf)
    try:
        return "\n".join(page.get_textpage().get_text_range() for page in document)
    finally:
        document.close()


def sheets(xlsx: bytes) -> dict[str, list[tuple[Any, ...]]]:
    book = openpyxl.load_workbook(io.BytesIO(xlsx))
    assert sum(len(sheet._charts) for sheet in book.worksheets) == 2
    return {sheet.title: list(sheet.iter_rows(values_only=True)) for sheet in book.worksheets}


async def raw_of(place: FigureGround, factory: UUID) -> list[Any]:
    return [
        row for row in await place.raw.scans() if row["factory_id"] == factory and LAST.since <= row["at"] < LAST.until
    ]


async def test_a_report_holds_what_the_raw_rows_hold(place: FigureGround, people: People) -> None:
    reader, factory = Reader(place), people.factories[0]
    ordered = await reader.make(factory_id=str(factory), week=LAST.name)
    async with working(place.ground):
        report = await reader.made(ordered.report_id)
    book, rows = sheets(await reader.fetch(report.xlsx)), await raw_of(place, factory)
    summary = {row[0]: row[1] for row in book["Summary"] if row[0]}
    verdicts = Counter(row["verdict"] for row in rows)
    assert (summary["Scans"], summary["Batches"]) == (len(rows), 1)
    names = ("Genuine code", "Suspicious", "Likely a copy", "Blocked", "Unknown code")
    assert [summary[name] for name in names] == [verdicts[number] for number in range(1, 6)]
    by_day = Counter(row["at"].date().isoformat() for row in rows)
    assert {row[0]: sum(row[1:]) for row in book["Scans by day (UTC)"][1:8]} == {
        day: by_day[day] for day in ((LAST.monday + timedelta(days=n)).isoformat() for n in range(7))
    }
    risks = Counter(min(row["risk"] // 10, 9) for row in rows if row["risk"] is not None)
    assert [row[1] for row in book["Scans by risk"][1:11]] == [risks[tens] for tens in range(10)]
    suspect = [row for row in rows if row["verdict"] > 1 or (row["risk"] or 0) >= 20]
    assert len(book["Anomalies"]) - 1 == min(50, len(suspect)) > 10
    worst = sorted((row["risk"] for row in suspect if row["risk"] is not None), reverse=True)
    assert [row[3] for row in book["Anomalies"][1:11]] == worst[:10]
    text = text_of(await reader.fetch(report.pdf))
    assert f"Weekly report {LAST.name}" in text
    assert EVIL in text


@pytest.mark.parametrize(
    ("language", "title"), [("pt-BR", "Relatório semanal"), ("es", "Informe semanal"), ("", "Weekly report")]
)
async def test_it_speaks_the_language_asked_for(place: FigureGround, people: People, language: str, title: str) -> None:
    reader = Reader(place)
    ordered = await reader.make(factory_id=str(people.factories[0]), language=language)
    assert (ordered.week, ordered.language) == (LAST.name, language or "en")
    async with working(place.ground):
        report = await reader.made(ordered.report_id)
    assert title in text_of(await reader.fetch(report.pdf))
    book = sheets(await reader.fetch(report.xlsx))
    cells = [str(cell) for rows in book.values() for row in rows for cell in row if cell]
    assert any(cell.startswith(title) for cell in cells)
    assert f"'{EVIL}" in cells
    assert not [cell for cell in cells if cell[0] in "=+-@"]


async def test_every_factory_gets_its_report_when_the_week_is_over(place: FigureGround, people: People) -> None:
    reader = Reader(place)
    async with place.ground.owner() as owner:
        await owner.execute("UPDATE pgqueuer SET execute_after = now() WHERE entrypoint = 'weekly.order'")
    async with working(place.ground), place.ground.owner() as owner:
        await owner.execute("UPDATE pgqueuer SET execute_after = now() WHERE entrypoint = 'weekly.order'")

        async def ordered() -> bool:
            await owner.execute("UPDATE pgqueuer SET execute_after = now() WHERE entrypoint LIKE 'weekly.%'")
            reports = [report for report in await reader.list() if report.language == "en"]
            return {report.factory_id for report in reports if report.state == DONE} == set(map(str, people.factories))

        assert await eventually(ordered, within=60)
    again = [report for report in await reader.list() if (report.language, report.week) == ("en", LAST.name)]
    assert len(again) == len(people.factories)


async def test_a_week_that_is_not_counted_is_waited_for(place: FigureGround, people: People) -> None:
    reader, factory = Reader(place), people.factories[1]
    async with place.ground.owner() as owner:
        counted = await owner.fetchval("SELECT as_of FROM rollups WHERE source = 'scans'")
        await owner.execute("UPDATE rollups SET as_of = $1 WHERE source = 'scans'", LAST.until - timedelta(minutes=1))
        ordered = await reader.make(factory_id=str(factory), language="es")
        async with working(place.ground):

            async def put_off() -> bool:
                return bool(
                    await owner.fetchval(
                        "SELECT count(*) FROM pgqueuer WHERE entrypoint = 'weekly.make' AND payload = $1"
                        " AND status = 'queued' AND execute_after > now() + interval '3 seconds'",
                        UUID(ordered.report_id).bytes,
                    )
                )

            assert await eventually(put_off)
            assert (await reader.get(ordered.report_id)).state == WAITING
            await owner.execute("UPDATE rollups SET as_of = $1 WHERE source = 'scans'", counted)
            await owner.execute("UPDATE pgqueuer SET execute_after = now() WHERE entrypoint = 'weekly.make'")
            assert (await reader.made(ordered.report_id)).pdf.size


async def test_made_again_it_has_new_files_and_one_name(place: FigureGround, people: People) -> None:
    reader, which = Reader(place), {"factory_id": str(people.factories[0]), "language": "en"}
    request_id = str(uuid4())
    async with working(place.ground):
        first = await reader.made((await reader.make(**which)).report_id)
        again = await reader.make(**which, request_id=request_id)
        assert (again.report_id, again.state) == (first.report_id, WAITING)
        second = await reader.made(first.report_id)
    assert second.pdf.link.split("?")[0] != first.pdf.link.split("?")[0]
    assert await reader.fetch(first.pdf), "for as long as links last"
    assert (await reader.make(**which, request_id=request_id)).state == DONE, "the same request is no new order"
    assert await refused(reader.make(**which, week=LAST.name, request_id=request_id)) == "REQUEST_ID_REUSED"


async def test_managers_have_their_own(place: FigureGround, people: People) -> None:
    mine, other = map(str, people.factories)
    role = access_pb2.ROLE_FACTORY_MANAGER
    manager = Reader(place, await place.door.add(place.admin, role, factory_id=mine))
    foreign = await Reader(place).make(factory_id=other)
    own = await manager.make()
    assert own.factory_id == mine
    assert {report.factory_id for report in await manager.list()} == {mine}
    assert await manager.list(factory_id=other) == []
    assert await refused(manager.get(foreign.report_id)) == "WEEKLY_REPORT_NOT_FOUND"
    assert await refused(manager.make(factory_id=other)) == "FACTORY_NOT_FOUND"
    async with working(place.ground):
        report = await manager.made(own.report_id)
    assert await manager.fetch(report.pdf)
    assert await refused(Reader(place).fetch(report.pdf)) == "LINK_INVALID"
    auditor = Reader(place, await place.door.add(place.admin, access_pb2.ROLE_AUDITOR))
    assert await refused(auditor.make(factory_id=mine)) == "ACCESS_DENIED"
    assert {report.factory_id for report in await auditor.list()} == {mine, other}
    operator = Reader(place, await place.door.add(place.admin, access_pb2.ROLE_FACTORY_OPERATOR, factory_id=mine))
    assert await refused(operator.list()) == "ACCESS_DENIED"


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "no factory": ({"factory_id": ""}, "VALIDATION_FAILED"),
    "a factory that is none": ({"factory_id": "mine"}, "VALIDATION_FAILED"),
    "an unknown factory": ({"factory_id": str(UUID(int=9))}, "FACTORY_NOT_FOUND"),
    "a week that is none": ({"week": "last"}, "VALIDATION_FAILED"),
    "a week that no year has": ({"week": "2025-W53"}, "VALIDATION_FAILED"),
    "week zero": ({"week": "2025-W00"}, "VALIDATION_FAILED"),
    "a week to come": ({"week": "2999-W01"}, "VALIDATION_FAILED"),
    "the last of all weeks": ({"week": "9999-W52"}, "VALIDATION_FAILED"),
    "another language": ({"language": "de"}, "VALIDATION_FAILED"),
    "no request": ({"request_id": ""}, "VALIDATION_FAILED"),
}


@pytest.mark.parametrize(("fields", "reason"), WRONG.values(), ids=WRONG)
async def test_wrong_orders_are_refused(
    place: FigureGround, people: People, fields: dict[str, Any], reason: str
) -> None:
    assert await refused(Reader(place).make(**({"factory_id": str(people.factories[0])} | fields))) == reason


async def test_pages_and_ids_of_others(place: FigureGround, people: People) -> None:
    reader = Reader(place)
    for language in ("en", "es"):
        await reader.make(factory_id=str(people.factories[0]), language=language)
    first = await reader.call("ListWeeklyReports", page_size=1)
    assert len(first.reports) == 1
    second = await reader.call("ListWeeklyReports", page_size=1, page_token=first.next_page_token)
    assert second.reports[0].report_id < first.reports[0].report_id
    auditor = Reader(place, await place.door.add(place.admin, access_pb2.ROLE_AUDITOR))
    for somebody, fields in ((auditor, {}), (reader, {"factory_id": str(people.factories[0])})):
        call = somebody.call("ListWeeklyReports", page_token=first.next_page_token, **fields)
        assert await refused(call) == "PAGE_TOKEN_INVALID"
    assert await refused(reader.get(str(uuid4()))) == "WEEKLY_REPORT_NOT_FOUND"
    assert await refused(reader.get("1")) == "VALIDATION_FAILED"
