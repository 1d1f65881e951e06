"""A workbook (ECMA-376 SpreadsheetML) written as a stream: one batch of rows and the compressor's window are kept.

The libraries that write workbooks keep every row until the end, in memory or in files of their own. A sheet is one file
of a ZIP archive whose length stands behind it, so that it can be sent while it is made. Rows go on in the next sheet
when this one is full, or would need the ZIP64 extension, which spreadsheets do not read in a stream.
"""

import re
from collections.abc import Sequence
from typing import IO
from xml.sax.saxutils import escape
from zipfile import ZIP_DEFLATED, ZipFile

from mesh.tables import Column, Kind, Row, escaped, places

SHEET_ROWS = 1_048_576
SHEET_BYTES = 1 << 30
CELL_CHARACTERS = 32_767
"""The format's own limits; 1 GiB is half of what a file of an archive may have without ZIP64."""

_LEVEL = 1
_XML = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'
_MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
_OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_PACKAGE = "http://schemas.openxmlformats.org/package/2006"
_RELATIONS = f'<Relationships xmlns="{_PACKAGE}/relationships">'
_TYPE = "application/vnd.openxmlformats-officedocument.spreadsheetml"
_BEGIN = (
    f'{_XML}<worksheet xmlns="{_MAIN}"><sheetViews><sheetView workbookViewId="0"><pane ySplit="1" topLeftCell="A2" '
    'activePane="bottomLeft" state="frozen"/></sheetView></sheetViews><sheetFormatPr defaultRowHeight="15"/><sheetData>'
)
_END = "</sheetData></worksheet>"
_STYLES = (
    f'<styleSheet xmlns="{_MAIN}"><fonts count="2"><font/><font><b/></font></fonts><fills count="2"><fill>'
    '<patternFill patternType="none"/></fill><fill><patternFill patternType="gray125"/></fill></fills>'
    '<borders count="1"><border/></borders><cellStyleXfs count="1"><xf/></cellStyleXfs><cellXfs count="2"><xf/>'
    '<xf fontId="1" applyFont="1"/></cellXfs><cellStyles count="1"><cellStyle name="Normal" xfId="0" builtinId="0"/>'
    "</cellStyles></styleSheet>"
)
_FORBIDDEN = re.compile("[\x00-\x08\x0b-\x1f\ufffe\uffff\ud800-\udfff]|_(?=x[0-9A-Fa-f]{4})")
_CELL = {
    Kind.PLAIN: '<c t="inlineStr"><is><t>%s</t></is></c>',
    Kind.NUMBER: "<c><v>%s</v></c>",
    Kind.TEXT: '<c t="inlineStr"><is><t xml:space="preserve">%s</t></is></c>',
    Kind.JSON: '<c t="inlineStr"><is><t xml:space="preserve">%s</t></is></c>',
}


def cell_text(text: str) -> str:
    """Text as a cell has it: no formula, at most 32,767 characters, escaped for XML and for ST_Xstring (22.9.2.19)."""
    text = escaped(text[:CELL_CHARACTERS])[:CELL_CHARACTERS]
    return escape(_FORBIDDEN.sub(lambda found: f"_x{ord(found[0]):04X}_", text))


class _Sink:
    """What the archive writes to; it can be taken from and not be sought in."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def write(self, part: bytes) -> int:
        self._parts.append(bytes(part))
        return len(part)

    def flush(self) -> None:
        """Nothing waits here."""

    def close(self) -> None:
        """Nothing is held."""

    def take(self) -> bytes:
        whole = b"".join(self._parts)
        self._parts.clear()
        return whole


class WorkbookWriter:
    """Writes a table as a workbook whose sheets have the title, and the next number from the second on."""

    def __init__(
        self, columns: Sequence[Column], *, title: str, sheet_rows: int = SHEET_ROWS, sheet_bytes: int = SHEET_BYTES
    ) -> None:
        self._columns = columns
        self._title = title
        self._limits = sheet_rows, sheet_bytes
        self._texts = places(columns, Kind.TEXT, Kind.JSON)
        self._row = f"<row>{''.join(_CELL[column.kind] for column in columns)}</row>"
        self._sink = _Sink()
        self._archive = ZipFile(self._sink, "w", ZIP_DEFLATED, compresslevel=_LEVEL)
        self._sheet: IO[bytes] | None = None
        self._sheets = self._rows = self._size = 0

    def begin(self) -> bytes:
        """The first sheet's beginning."""
        self._begin_sheet()
        return self._sink.take()

    def add(self, rows: Sequence[Row]) -> bytes:
        """What came out of the compressor."""
        most, size = self._limits
        left = list(rows)
        while left:
            if self._rows >= most or self._size >= size:
                self._begin_sheet()
            now, left = left[: most - self._rows], left[most - self._rows :]
            self._write("".join(map(self._xml, now)))
            self._rows += len(now)
        return self._sink.take()

    def end(self) -> bytes:
        """The last sheet's end, and what tells of all sheets."""
        self._end_sheet()
        for name, content in self._about().items():
            self._archive.writestr(name, _XML + content)
        self._archive.close()
        return self._sink.take()

    def _xml(self, row: Row) -> str:
        cells = list(row)
        if None in cells:
            return f"<row>{''.join(map(self._cell, self._columns, cells))}</row>"
        for place in self._texts:
            cells[place] = cell_text(cells[place])
        return self._row % tuple(cells)

    def _cell(self, column: Column, value: object) -> str:
        if value is None:
            return "<c/>"
        text = cell_text(str(value)) if column.kind in (Kind.TEXT, Kind.JSON) else value
        return _CELL[column.kind] % text

    def _begin_sheet(self) -> None:
        self._end_sheet()
        self._sheets += 1
        self._rows = self._size = 0
        self._sheet = self._archive.open(f"xl/worksheets/sheet{self._sheets}.xml", "w")
        names = "".join(f'<c s="1" t="inlineStr"><is><t>{column.name}</t></is></c>' for column in self._columns)
        self._write(f"{_BEGIN}<row>{names}</row>")
        self._rows = 1

    def _end_sheet(self) -> None:
        if self._sheet is not None:
            self._write(_END)
            self._sheet.close()

    def _write(self, xml: str) -> None:
        assert self._sheet is not None
        self._size += self._sheet.write(xml.encode())

    def _about(self) -> dict[str, str]:
        numbers = range(1, self._sheets + 1)
        titles = [self._title if number == 1 else f"{self._title} {number}" for number in numbers]
        sheets = "".join(
            f'<sheet name="{title}" sheetId="{number}" r:id="rId{number}"/>'
            for number, title in zip(numbers, titles, strict=True)
        )
        parts = [(f"worksheets/sheet{number}.xml", "worksheet") for number in numbers] + [("styles.xml", "styles")]
        types = "".join(_override(name, kind) for name, kind in (*parts, ("workbook.xml", "sheet.main")))
        relations = "".join(
            f'<Relationship Id="rId{number}" Type="{_OFFICE}/{kind}" Target="{name}"/>'
            for number, (name, kind) in enumerate(parts, 1)
        )
        return {
            "xl/styles.xml": _STYLES,
            "xl/workbook.xml": f'<workbook xmlns="{_MAIN}" xmlns:r="{_OFFICE}"><sheets>{sheets}</sheets></workbook>',
            "xl/_rels/workbook.xml.rels": f"{_RELATIONS}{relations}</Relationships>",
            "_rels/.rels": f'{_RELATIONS}<Relationship Id="rId1" Type="{_OFFICE}/officeDocument" '
            'Target="xl/workbook.xml"/></Relationships>',
            "[Content_Types].xml": f'<Types xmlns="{_PACKAGE}/content-types"><Default Extension="rels" '
            f'ContentType="application/vnd.openxmlformats-package.relationships+xml"/>{types}</Types>',
        }


def _override(name: str, kind: str) -> str:
    return f'<Override PartName="/xl/{name}" ContentType="{_TYPE}.{kind}+xml"/>'
