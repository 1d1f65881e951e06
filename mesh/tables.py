"""Tables on their way out: rows that become CSV or JSON Lines, a batch at a time. Pure.

A spreadsheet takes a cell that begins like a formula for one, wherever its text came from; so text that people wrote
gets an apostrophe before it (OWASP, CSV injection). What we made ourselves, such as ids and names of states, has none.
"""

import csv
import io
from collections.abc import Iterable, Sequence
from enum import Enum, StrEnum
from typing import Any, NamedTuple, Protocol

import orjson

_FORMULA = frozenset("=+-@\t\r")

Row = Sequence[Any]
"""The cells by column: str of TEXT, PLAIN and JSON, int or float of NUMBER; None for nothing."""


class Kind(Enum):
    """What the cells of a column are."""

    PLAIN = "text that we made"
    TEXT = "text that people wrote"
    NUMBER = "numbers"
    JSON = "JSON of text that people wrote"


class Column(NamedTuple):
    """A column of a table."""

    name: str
    kind: Kind = Kind.PLAIN


class TableFormat(StrEnum):
    """How a table is written."""

    CSV = "CSV"
    JSON_LINES = "JSON_LINES"
    XLSX = "XLSX"


class TableWriter(Protocol):
    """Makes the bytes of one file. Keeps no row; `begin` once, `add` any number of times, `end` once."""

    def begin(self) -> bytes:
        """What the file begins with."""
        ...

    def add(self, rows: Sequence[Row]) -> bytes:
        """What these rows make; it may come with a later call."""
        ...

    def end(self) -> bytes:
        """What the file ends with."""
        ...


def escaped(text: str) -> str:
    """A cell that no spreadsheet takes for a formula."""
    return f"'{text}" if text and text[0] in _FORMULA else text


def csv_lines(rows: Iterable[Iterable[object]]) -> str:
    """RFC 4180 lines; None is an empty cell."""
    lines = io.StringIO()
    csv.writer(lines).writerows(rows)
    return lines.getvalue()


def places(columns: Sequence[Column], *kinds: Kind) -> list[int]:
    """Where the columns of these kinds are."""
    return [place for place, column in enumerate(columns) if column.kind in kinds]


class CsvWriter:
    """CSV (RFC 4180), UTF-8, with a header line."""

    def __init__(self, columns: Sequence[Column]) -> None:
        self._columns = columns
        self._texts = places(columns, Kind.TEXT, Kind.JSON)

    def begin(self) -> bytes:
        """The header line."""
        return csv_lines([[column.name for column in self._columns]]).encode()

    def add(self, rows: Sequence[Row]) -> bytes:
        """A line each."""
        return csv_lines(map(self._safe, rows) if self._texts else rows).encode()

    def end(self) -> bytes:
        """Nothing."""
        return b""

    def _safe(self, row: Row) -> Row:
        cells = list(row)
        for place in self._texts:
            text = cells[place]
            if text and text[0] in _FORMULA:
                cells[place] = f"'{text}"
        return cells


class JsonLinesWriter:
    """JSON Lines: an object a row with every column; JSON is nested, and no text is escaped for spreadsheets."""

    def __init__(self, columns: Sequence[Column]) -> None:
        self._names = [column.name for column in columns]
        self._nested = places(columns, Kind.JSON)

    def begin(self) -> bytes:
        """Nothing."""
        return b""

    def add(self, rows: Sequence[Row]) -> bytes:
        """A line each."""
        names, nested, dumps = self._names, self._nested, orjson.dumps
        if not nested:
            return b"".join(
                [dumps(dict(zip(names, row, strict=True)), option=orjson.OPT_APPEND_NEWLINE) for row in rows]
            )
        return b"".join([self._line(row) for row in rows])

    def end(self) -> bytes:
        """Nothing."""
        return b""

    def _line(self, row: Row) -> bytes:
        line = dict(zip(self._names, row, strict=True))
        for place in self._nested:
            if row[place] is not None:
                line[self._names[place]] = orjson.Fragment(row[place])
        return orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)
