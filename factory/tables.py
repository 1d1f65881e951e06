"""Tables of products: a CSV file in pieces that are cut anywhere, read record by record. Pure.

RFC 4180 with CRLF or LF, comma or semicolon, UTF-8 with or without BOM. Quoting is strict: a quote stands around a
whole cell or doubled within a quoted one. So the quotes before the end of a record are even in number, and those before
a line break within a quoted cell are odd: that is how records are told apart before they are parsed.
"""

import csv
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from factory.attributes import RULES
from mesh.errors import TableMalformed
from trust.canonical import MAX_ATTRIBUTES

MAX_RECORD_BYTES = 64 * 1024
_BOM = b"\xef\xbb\xbf"
_KEY = re.compile(r"[a-z][a-z0-9_]{0,31}")
_LINE_BREAK = re.compile(r"\s*(?:\r\n|\r|\n)\s*")
_CELL = r'(?:"[^"]*+(?:""[^"]*+)*+"|[^"\r\n{0}]*+)'
_RECORD = {delimiter: re.compile(f"{_CELL}(?:{delimiter}{_CELL})*+\r?".replace("{0}", delimiter)) for delimiter in ",;"}

Record = tuple[int, list[str]]
"""The line on which a record begins, from 1, and its cells, stripped."""


class TableRow(NamedTuple):
    """A row as imports take them; empty text is no value."""

    sku: str
    gtin: str
    serial: str
    name: str
    market: str
    expiry: str
    attributes: dict[str, str]


class Columns:
    """The header of a table. Names are folded to lower case; those that are not known columns are attribute keys."""

    def __init__(self, line: int, cells: Sequence[str]) -> None:
        """Raises TableMalformed for a header that names no column, one twice, or one that cannot be a key."""
        self.names = [cell.lower() for cell in cells]
        if not any(self.names):
            raise TableMalformed(line=line, problem=f"a header must name columns, such as {', '.join(RULES)}")
        if len(self.names) > MAX_ATTRIBUTES:
            raise TableMalformed(line=line, problem=f"{len(self.names)} columns are more than {MAX_ATTRIBUTES}")
        for place, name in enumerate(self.names):
            if not _KEY.fullmatch(name):
                raise TableMalformed(line=line, problem=f"{name[:40]!r} cannot be the name of a column")
            if name in self.names[:place]:
                raise TableMalformed(line=line, problem=f"the column {name} is named twice")
        self._known = [self.names.index(name) if name in self.names else -1 for name in RULES]
        self._others = [(place, name) for place, name in enumerate(self.names) if name not in RULES]

    def row(self, cells: Sequence[str]) -> TableRow:
        """A record as a row. Cells without a column become an attribute without a key, which is refused."""
        width, count = len(self.names), len(cells)
        padded = cells if count >= width else [*cells, *[""] * (width - count)]
        attributes = {name: padded[place] for place, name in self._others if padded[place]} if self._others else {}
        if count > width and any(cells[width:]):
            attributes[""] = cells[width]
        return TableRow._make([*("" if place < 0 else padded[place] for place in self._known), attributes])

    def value(self, cells: Sequence[str], column: str) -> str:
        """What stands in a column, or '' where the record ends before it; column '' is what comes after all columns."""
        place = self.names.index(column) if column in self.names else len(self.names)
        return cells[place] if place < len(cells) else ""


class TableReader:
    """Reads one file. Keeps at most one record and the piece it was given."""

    def __init__(self) -> None:
        self._rest = b""
        self._line = 1
        self._begun = False
        self._delimiter = ""

    def feed(self, piece: bytes) -> Iterator[Record]:
        """The records that the piece completes, empty lines left out; to be used up before the next piece.

        Raises TableMalformed after the records before the one at fault.
        """
        data = self._rest + piece
        if not self._begun:
            if len(data) < len(_BOM) and _BOM.startswith(data):
                self._rest = data
                return
            self._begun = True
            data = data.removeprefix(_BOM)
        end = data.rfind(b"\n") + 1
        yield from self._lines(data[:end], data[end:])

    def finish(self) -> Iterator[Record]:
        """What stands after the last line break. Raises TableMalformed."""
        rest, self._rest = self._rest.removeprefix(_BOM) if not self._begun else self._rest, b""
        if rest:
            yield from self._lines(rest + b"\n", b"")
        if self._rest:
            raise self._malformed("a quote is never closed")

    def _lines(self, whole: bytes, rest: bytes) -> Iterator[Record]:
        """Records of whole lines; an open one is kept for the next piece."""
        try:
            text, bad = whole.decode(), None
        except UnicodeDecodeError as error:
            bad = error
            text = whole[: whole.rfind(b"\n", 0, error.start) + 1].decode()
        records = text.split("\n")
        records.pop()
        if '"' in text:
            records, opened = _joined(records)
        else:
            opened = ""
        yield from self._parsed(records)
        self._rest = opened.encode() + rest
        if bad is not None:
            self._line += opened.count("\n")
            raise self._malformed(f"byte 0x{whole[bad.start]:02x} is not UTF-8")
        if len(self._rest) > MAX_RECORD_BYTES:
            raise self._too_long()

    def _parsed(self, records: list[str]) -> Iterator[Record]:
        for record in records:
            line = self._line
            if len(record) > MAX_RECORD_BYTES // 4 and len(record.encode()) > MAX_RECORD_BYTES:
                raise self._too_long()
            if record and record != "\r":
                yield line, self._cells(record)
            self._line = line + 1 + (record.count("\n") if '"' in record else 0)

    def _cells(self, record: str) -> list[str]:
        if not self._delimiter:
            self._delimiter = ";" if record.count(";") > record.count(",") else ","
        if '"' not in record:
            if "\r" in record[:-1]:
                raise self._malformed("a carriage return stands outside of quotes")
            return [cell.strip() for cell in record.split(self._delimiter)]
        if not _RECORD[self._delimiter].fullmatch(record):
            raise self._malformed("a quote neither encloses a whole cell nor is doubled within one")
        cells = next(csv.reader([record], delimiter=self._delimiter, strict=True))
        # Attributes have no control characters: a line break within a cell becomes a space.
        return [_LINE_BREAK.sub(" ", cell.strip()) for cell in cells]

    def _too_long(self) -> TableMalformed:
        return self._malformed(f"the row that begins here has more than {MAX_RECORD_BYTES:,} bytes")

    def _malformed(self, problem: str) -> TableMalformed:
        return TableMalformed(line=self._line, problem=problem)


def _joined(lines: list[str]) -> tuple[list[str], str]:
    """Lines as records, and the beginning of one whose quote is still open."""
    records: list[str] = []
    open_lines: list[str] = []
    for line in lines:
        odd = line.count('"') & 1
        if not open_lines and not odd:
            records.append(line)
            continue
        open_lines.append(line)
        if odd and len(open_lines) > 1:
            records.append("\n".join(open_lines))
            open_lines = []
    return records, "\n".join([*open_lines, ""]) if open_lines else ""
