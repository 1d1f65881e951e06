"""A weekly report as a workbook: a sheet a table, with charts."""

import io
from collections.abc import Mapping, Sequence

from xlsxwriter import Workbook
from xlsxwriter.worksheet import Worksheet

from admin.week_tables import Section
from admin.weeks import WeekFigures
from mesh.tables import escaped

COLOURS = ("#2e7d32", "#f9a825", "#ef6c00", "#c62828", "#757575")
NAME_CHARACTERS = 31
"""Of a sheet at most."""
FORBIDDEN = str.maketrans("[]:*?/\\", "       ")


def week_xlsx(figures: WeekFigures, sections: Sequence[Section], t: Mapping[str, str]) -> bytes:
    """The file; the same figures make the same bytes."""
    file = io.BytesIO()
    with Workbook(file, {"in_memory": True}) as book:
        book.set_properties({"title": f"{t['title']} {figures.week.name}", "created": figures.week.until})
        bold = book.add_format({"bold": True})
        for section in sections:
            sheet = book.add_worksheet(section.heading.translate(FORBIDDEN)[:NAME_CHARACTERS])
            first = 0
            if section.name == "summary":
                sheet.write_string(0, 0, f"{t['title']} {figures.week.name}", bold)
                sheet.write_string(1, 0, escaped(figures.factory_name), bold)
                first = 3
            _write(sheet, section, first, bold)
            if section.name in ("days", "risks"):
                _plot(book, sheet, section)
    return file.getvalue()


def _write(sheet: Worksheet, section: Section, first: int, bold: object) -> None:
    for place, column in enumerate(section.columns):
        sheet.write_string(first, place, column, bold)
    for number, row in enumerate(section.rows, first + 1):
        for place, cell in enumerate(row):
            if isinstance(cell, int):
                sheet.write_number(number, place, cell)
            else:
                sheet.write_string(number, place, escaped(cell))
    sheet.set_column(0, len(section.columns) - 1, 22)


def _plot(book: Workbook, sheet: Worksheet, section: Section) -> None:
    chart = book.add_chart({"type": "column", "subtype": "stacked"})
    last = len(section.rows)
    for place, colour in zip(range(1, len(section.columns)), COLOURS, strict=False):
        chart.add_series(
            {
                "name": [sheet.name, 0, place],
                "categories": [sheet.name, 1, 0, last, 0],
                "values": [sheet.name, 1, place, last, place],
                "fill": {"color": colour},
            }
        )
    chart.set_title({"name": section.heading})
    sheet.insert_chart(last + 2, 0, chart, {"x_scale": 1.6})
