"""A weekly report as PDF: A4, plots in vectors."""

import io
from collections.abc import Mapping, Sequence
from typing import Any
from xml.sax.saxutils import escape

from reportlab.graphics.charts.barcharts import VerticalBarChart
from reportlab.graphics.charts.legends import Legend
from reportlab.graphics.shapes import Drawing
from reportlab.lib import colors
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import getSampleStyleSheet
from reportlab.lib.units import mm
from reportlab.platypus import CondPageBreak, Flowable, KeepTogether, Paragraph, SimpleDocTemplate, Table, TableStyle

from admin.week_tables import Cell, Section
from admin.weeks import WeekFigures

COLOURS = tuple(map(colors.HexColor, ("#2e7d32", "#f9a825", "#ef6c00", "#c62828", "#757575")))
WIDTH, HEIGHT = 170 * mm, 55 * mm
MARGIN = 20 * mm
LONGEST = 48
_STYLES = getSampleStyleSheet()
_LINES = TableStyle(
    [
        ("FONTSIZE", (0, 0), (-1, -1), 8),
        ("FONTNAME", (0, 0), (-1, 0), "Helvetica-Bold"),
        ("LINEBELOW", (0, 0), (-1, 0), 0.5, colors.black),
        ("LINEBELOW", (0, 1), (-1, -1), 0.25, colors.lightgrey),
        ("TOPPADDING", (0, 0), (-1, -1), 1),
        ("BOTTOMPADDING", (0, 0), (-1, -1), 1),
    ]
)


def week_pdf(figures: WeekFigures, sections: Sequence[Section], t: Mapping[str, str]) -> bytes:
    """The file; the same figures make the same bytes."""
    file = io.BytesIO()
    title = f"{t['title']} {figures.week.name}"
    document = SimpleDocTemplate(
        file, pagesize=A4, leftMargin=MARGIN, rightMargin=MARGIN, topMargin=MARGIN, bottomMargin=MARGIN,
        title=title, author="VokeTag", invariant=1,
    )  # fmt: skip
    parts: list[Flowable] = [_text(title, "Title"), _text(_short(figures.factory_name), "Heading2")]
    if figures.as_of:
        parts.append(_text(f"{t['counted_until']} {figures.as_of:%Y-%m-%d %H:%M} UTC", "Normal"))
    for section in sections:
        heading, body = _text(section.heading, "Heading3"), _body(section, t)
        # A long table breaks over pages, a plot does not.
        table = [CondPageBreak(30 * mm), heading, body]
        parts += table if isinstance(body, Table) else [KeepTogether([heading, body])]
    document.build(parts)
    return file.getvalue()


def _text(text: str, style: str) -> Flowable:
    return Paragraph(escape(text), _STYLES[style])


def _body(section: Section, t: Mapping[str, str]) -> Flowable:
    match section.name:
        case "days":
            return _bars(section, stacked=True)
        case "risks":
            return _bars(section, stacked=False)
    if not section.rows:
        return _text(t["none"], "Normal")
    rows = [list(section.columns), *([_short(cell) for cell in row] for row in section.rows)]
    return Table(rows, style=_LINES, hAlign="LEFT", repeatRows=1)


def _short(cell: Cell) -> str:
    text = f"{cell:,}".replace(",", "\u00a0") if isinstance(cell, int) else cell
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def _bars(section: Section, *, stacked: bool) -> Flowable:
    """A bar for each row, of the numbers behind its first cell."""
    drawing = Drawing(WIDTH, HEIGHT)
    chart: Any = VerticalBarChart()
    chart.x, chart.y, chart.width, chart.height = 15 * mm, 12 * mm, WIDTH - 20 * mm, HEIGHT - 20 * mm
    chart.data = [[int(row[place]) for row in section.rows] for place in range(1, len(section.columns))]
    chart.categoryAxis.categoryNames = [str(row[0]) for row in section.rows]
    chart.categoryAxis.labels.fontSize = chart.valueAxis.labels.fontSize = 7
    chart.categoryAxis.style = "stacked" if stacked else "parallel"
    chart.valueAxis.valueMin = 0
    chart.valueAxis.valueMax = max(1, *(sum(map(int, row[1:])) for row in section.rows))
    for number, colour in zip(range(len(chart.data)), COLOURS, strict=False):
        chart.bars[number].fillColor, chart.bars[number].strokeColor = colour, None
    drawing.add(chart)
    if stacked:
        legend: Any = Legend()
        legend.x, legend.y, legend.fontSize, legend.alignment = 15 * mm, HEIGHT - 2 * mm, 7, "right"
        legend.columnMaximum, legend.deltax, legend.boxAnchor = 1, 30 * mm, "nw"
        legend.colorNamePairs = list(zip(COLOURS, section.columns[1:], strict=True))
        drawing.add(legend)
    return drawing
