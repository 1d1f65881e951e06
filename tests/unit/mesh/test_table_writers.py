"""Tables written as CSV, JSON Lines and workbooks, read back by libraries that are not ours."""

import csv
import io
import json
import re
import tracemalloc
import zipfile
from collections.abc import Sequence

import openpyxl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mesh.tables import Column, CsvWriter, JsonLinesWriter, Kind, Row, TableWriter, csv_lines, escaped
from mesh.workbook import CELL_CHARACTERS, WorkbookWriter

COLUMNS = (Column("id"), Column("text", Kind.TEXT), Column("risk", Kind.NUMBER), Column("more", Kind.JSON))
FORMULAS = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1"]


def written(writer: TableWriter, *batches: Sequence[Row]) -> bytes:
    return writer.begin() + b"".join(map(writer.add, batches)) + writer.end()


def sheets(file: bytes) -> dict[str, list[tuple[object, ...]]]:
    book = openpyxl.load_workbook(io.BytesIO(file), read_only=True)
    return {sheet.title: list(sheet.iter_rows(values_only=True)) for sheet in book.worksheets}


@pytest.mark.parametrize("text", FORMULAS)
def test_formula_gets_an_apostrophe(text: str) -> None:
    assert escaped(text) == f"'{text}"
    rows = [("a", text, 1, None)]
    lines = list(csv.reader(io.StringIO(written(CsvWriter(COLUMNS), rows).decode(), newline="")))
    assert lines == [["id", "text", "risk", "more"], ["a", f"'{text}", "1", ""]]
    (_, cells) = sheets(written(WorkbookWriter(COLUMNS, title="T"), rows))["T"]
    assert str(cells[1]).replace("_x000D_", "\r") == f"'{text}"


@pytest.mark.parametrize("text", ["", "a=1", "1-1", "'x", "VOKE"])
def test_anything_else_stays(text: str) -> None:
    assert escaped(text) == text


def test_json_lines_nest_json_and_escape_nothing_for_spreadsheets() -> None:
    rows = [("a", "=1", 1, '{"k":"=2"}'), ("b", None, None, None)]
    assert [json.loads(line) for line in written(JsonLinesWriter(COLUMNS), rows).splitlines()] == [
        {"id": "a", "text": "=1", "risk": 1, "more": {"k": "=2"}},
        {"id": "b", "text": None, "risk": None, "more": None},
    ]


@pytest.mark.parametrize("kind", [CsvWriter, JsonLinesWriter])
def test_file_without_rows(kind: type[CsvWriter]) -> None:
    assert written(kind(COLUMNS)) in (b"", b"id,text,risk,more\r\n")


def test_workbook_without_rows_has_its_header() -> None:
    assert sheets(written(WorkbookWriter(COLUMNS, title="Empty"))) == {"Empty": [("id", "text", "risk", "more")]}


def test_rows_go_on_in_the_next_sheet() -> None:
    writer = WorkbookWriter((Column("n", Kind.NUMBER),), title="N", sheet_rows=4)
    found = sheets(written(writer, [(n,) for n in range(5)], [(n,) for n in range(5, 7)]))
    assert found == {
        "N": [("n",), (0,), (1,), (2,)],
        "N 2": [("n",), (3,), (4,), (5,)],
        "N 3": [("n",), (6,)],
    }


def test_a_sheet_that_is_large_ends_too() -> None:
    writer = WorkbookWriter((Column("n", Kind.NUMBER),), title="N", sheet_bytes=1000)
    found = sheets(written(writer, *([(n,)] for n in range(60))))
    assert len(found) > 1
    assert [row[0] for rows in found.values() for row in rows[1:]] == list(range(60))


characters = st.characters(codec="utf-8", exclude_characters="\r")


@settings(max_examples=50)
@example([("\x1fx", None), ("_x0041_", None), ("_x0041\x1f", None)])
@given(st.lists(st.tuples(st.text(characters, max_size=20), st.none() | st.integers(-(2**53), 2**53)), max_size=5))
def test_what_is_written_is_read(values: list[tuple[str, int | None]]) -> None:
    columns = COLUMNS[1:3]
    lines = list(csv.reader(io.StringIO(written(CsvWriter(columns), values).decode(), newline="")))[1:]
    assert lines == [[escaped(text), "" if number is None else str(number)] for text, number in values]
    objects = [json.loads(line) for line in written(JsonLinesWriter(columns), values).splitlines()]
    assert [(o["text"], o["risk"]) for o in objects] == values
    file = written(WorkbookWriter(columns, title="T"), values)
    assert zipfile.ZipFile(io.BytesIO(file)).testzip() is None
    assert [(unescaped(text), number) for text, number in sheets(file)["T"][1:]] == [
        (escaped(text), number) for text, number in values
    ]


def unescaped(cell: object) -> str:
    """What ST_Xstring writes as `_xHHHH_`, which openpyxl leaves as it is."""
    text = str("" if cell is None else cell)
    return re.sub("_x([0-9A-F]{4})_", lambda found: chr(int(found[1], 16)), text)


def test_a_cell_holds_no_more_than_the_format_allows() -> None:
    file = written(WorkbookWriter(COLUMNS[1:2], title="T"), [("=" + "x" * 40_000,)])
    assert len(str(sheets(file)["T"][1][0])) == CELL_CHARACTERS


@pytest.mark.parametrize(
    "writer", [CsvWriter(COLUMNS), JsonLinesWriter(COLUMNS), WorkbookWriter(COLUMNS, title="T", sheet_rows=20_000)]
)
def test_memory_does_not_grow_with_the_rows(writer: TableWriter) -> None:
    page = [("a", f"{number:0500}", number, "{}") for number in range(1_000)]
    writer.begin()
    writer.add(page)
    tracemalloc.start()
    try:
        for _ in range(50):
            writer.add(page)
        writer.end()
        assert tracemalloc.get_traced_memory()[1] < 8 << 20, "of 25 MB of text"
    finally:
        tracemalloc.stop()


def test_lines_are_of_rfc_4180() -> None:
    assert csv_lines([('say "hi"', "a,b", 1)]) == '"say ""hi""","a,b",1\r\n'
