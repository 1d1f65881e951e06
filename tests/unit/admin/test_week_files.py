"""The two files of a weekly report: the same figures make the same bytes, in every language and of any week."""

import io
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from uuid import UUID

import openpyxl
import pypdfium2
import pytest

from admin.counting import COUNTED
from admin.figures import Point
from admin.product_lists import ProductScans
from admin.week_pdf import week_pdf
from admin.week_tables import Section, sections
from admin.week_texts import LANGUAGES, texts
from admin.week_xlsx import week_xlsx
from admin.weeks import Anomaly, Batch, Week, WeekFigures
from mesh.errors import ValidationFailed

WEEK = Week(date(2026, 11, 16))
AT = WEEK.since + timedelta(hours=30)
ID = UUID(int=7)
Draw = Callable[[WeekFigures, Sequence[Section], Mapping[str, str]], bytes]


def figures(*, busy: bool = True) -> WeekFigures:
    days = [
        Point(WEEK.since + timedelta(days=n), {name: n * 1_000 + k for k, name in enumerate(COUNTED)} if busy else {})
        for n in range(7)
    ]
    return WeekFigures(
        ID,
        "Fábrica <b>&日本 " + "x" * 300,
        WEEK,
        AT if busy else None,
        days,
        before={"scans": 5} if busy else {},
        countries=[("BR", 12_345), ("", 1)] if busy else [],
        products=[ProductScans(ID, 9, 9)] if busy else [],
        batch_count=60,
        product_count=1_000_000,
        batches=[Batch("=1+1 " + "y" * 200, "COMPLETED", n, AT) for n in range(50)] if busy else [],
        anomalies=[Anomaly(AT, ID, "LIKELY_COPY", None, None, "")] * 50 if busy else [],
        reports=[("LOOKS_FAKE", 3), ("A_KIND_TO_COME", 1)] if busy else [],
    )


@pytest.mark.parametrize("draw", [week_pdf, week_xlsx])
@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("busy", [True, False])
def test_the_same_figures_make_the_same_bytes(draw: Draw, language: str, busy: bool) -> None:
    t, week = texts(language), figures(busy=busy)
    file = draw(week, sections(week, t), t)
    assert draw(week, sections(week, t), t) == file


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_busy_week_and_an_empty_one_have_every_heading(language: str) -> None:
    t = texts(language)
    for week in (figures(), figures(busy=False)):
        tables = sections(week, t)
        document = pypdfium2.PdfDocument(week_pdf(week, tables, t))
        text = "\n".join(page.get_textpage().get_text_range() for page in document)
        document.close()
        book = openpyxl.load_workbook(io.BytesIO(week_xlsx(week, tables, t)))
        assert list(book.sheetnames) == [table.heading for table in tables]
        assert not [table.heading for table in tables if table.heading not in text]
        assert "2026-W47" in text


def test_every_language_has_every_word() -> None:
    words = [texts(language) for language in LANGUAGES]
    assert all(word for language in words for word in language.values())
    assert all(set(language) == set(words[0]) for language in words)


def test_weeks_are_those_of_iso_8601() -> None:
    assert Week.named("2026-W47") == WEEK
    assert (WEEK.name, WEEK.since, WEEK.until - WEEK.since) == (
        "2026-W47",
        datetime(2026, 11, 16, tzinfo=UTC),
        timedelta(days=7),
    )
    assert Week.named("2026-W53").name == "2026-W53"
    assert Week.named("2025-W01").monday == date(2024, 12, 30)
    assert Week.last(datetime(2026, 11, 23, tzinfo=UTC)) == WEEK
    assert Week.last(datetime(2026, 11, 22, 23, tzinfo=UTC)).name == "2026-W46"
    with pytest.raises(ValidationFailed):
        Week.named("2025-W53")
