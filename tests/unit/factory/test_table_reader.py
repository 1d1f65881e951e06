"""Tables of products: any cut of the bytes gives the same rows, and what is broken is named by its line."""

import csv
import io
from collections.abc import Iterable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from factory.tables import MAX_RECORD_BYTES, Columns, Record, TableReader
from mesh.errors import TableMalformed


def read(pieces: Iterable[bytes]) -> list[Record]:
    reader = TableReader()
    records = [record for piece in pieces for record in reader.feed(piece)]
    return [*records, *reader.finish()]


def outcome(pieces: Iterable[bytes]) -> object:
    """The rows up to an error, and the error."""
    reader = TableReader()
    records: list[Record] = []
    try:
        for piece in pieces:
            records.extend(reader.feed(piece))
        records.extend(reader.finish())
    except TableMalformed as error:
        return records, error.metadata
    return records


def cut(data: bytes, places: Iterable[int]) -> list[bytes]:
    bounds = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[start:end] for start, end in pairwise(bounds)]


cells = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=6) | st.sampled_from(
    ['"', "a\nb", "a\r\nb", ";", ",", '""', "é", "=1+1", ""]
)
places = st.lists(st.integers(0, 400), max_size=12)


@given(
    st.lists(st.lists(cells, min_size=2, max_size=4), max_size=8),
    st.sampled_from([",", ";"]),
    st.sampled_from(["\n", "\r\n"]),
    st.booleans(),
    places,
)
def test_any_cut_gives_the_rows_that_were_written(
    table: list[list[str]], delimiter: str, newline: str, bom: bool, at: list[int]
) -> None:
    text = io.StringIO()
    text.write(f"sku{delimiter}name{newline}")
    csv.writer(text, delimiter=delimiter, lineterminator=newline, quoting=csv.QUOTE_ALL).writerows(table)
    data = text.getvalue().encode("utf-8-sig" if bom else "utf-8")
    records = read(cut(data, at))
    assert records == read([data])
    rows = [[" ".join(" ".join(cell.replace("\r", "\n").split("\n")).split()) for cell in row] for row in table]
    assert [[" ".join(cell.split()) for cell in row] for _, row in records[1:]] == rows
    lines = 2
    for (line, _), row in zip(records[1:], table, strict=True):
        assert line == lines
        lines += 1 + sum(cell.count("\n") for cell in row)


@given(st.lists(st.sampled_from([b"a", b",", b'"', b"\n", b"\r", b"\xff", "é".encode(), b";"]), max_size=40), places)
def test_any_cut_of_anything_gives_the_same_rows_and_the_same_error(parts: list[bytes], at: list[int]) -> None:
    data = b"".join(parts)
    assert outcome(cut(data, at)) == outcome([data])


def test_byte_by_byte() -> None:
    data = '\ufeffsku;name\r\n1;"Olá; ""mundo"""\r\n\r\n2;"zwei\r\nZeilen"\r\n3;drei'.encode()
    assert read(bytes((byte,)) for byte in data) == [
        (1, ["sku", "name"]),
        (2, ["1", 'Olá; "mundo"']),
        (4, ["2", "zwei Zeilen"]),
        (6, ["3", "drei"]),
    ]


@pytest.mark.parametrize(
    ("data", "line", "problem"),
    [
        (b'a,b\n1,"x\n2,y\n', 2, "never closed"),
        (b'a,b\n1,2\n1,15" wide\n2,"y"\n', 3, "quote"),
        (b'a,b\n1,"x"y\n', 2, "quote"),
        (b"a,b\n1,\xe9\n", 2, "byte 0xe9 is not UTF-8"),
        (b'a,b\n"1\n2\xff",3\n', 3, "byte 0xff is not UTF-8"),
        (b"a,b\n1,2\xc3", 2, "is not UTF-8"),
        (b"a,b\n1\r2,3\n", 2, "carriage return"),
        (b"a,b\n1," + b"x" * MAX_RECORD_BYTES, 2, "more than 65,536 bytes"),
        (b"a,b\n1," + b"x" * MAX_RECORD_BYTES + b"\n", 2, "more than 65,536 bytes"),
        (b'a,b\n1,"' + b"x\n" * MAX_RECORD_BYTES, 2, "more than 65,536 bytes"),
    ],
)
def test_broken_table_is_named_by_its_line(data: bytes, line: int, problem: str) -> None:
    for pieces in ([data], cut(data, range(0, len(data), 7))):
        with pytest.raises(TableMalformed) as error:
            read(pieces)
        assert error.value.metadata["line"] == str(line)
        assert problem in error.value.metadata["problem"]


@pytest.mark.parametrize("data", [b"", b"\xef\xbb\xbf", b"\n\r\n", b"\xef\xbb"])
def test_empty_file_has_no_rows(data: bytes) -> None:
    if data == b"\xef\xbb":
        with pytest.raises(TableMalformed):
            read([data])
    else:
        assert read([data]) == []


@pytest.mark.parametrize(
    ("header", "problem"),
    [
        ([""], "must name columns"),
        (["sku", "SKU"], "named twice"),
        (["sku", ""], "cannot be the name"),
        (["4006381333931", "Shoe"], "cannot be the name"),
        ([f"c{number}" for number in range(65)], "more than 64"),
    ],
)
def test_bad_header_is_refused(header: list[str], problem: str) -> None:
    with pytest.raises(TableMalformed, match=problem):
        Columns(1, header)


def test_cells_become_known_columns_and_attributes() -> None:
    columns = Columns(1, ["Colour", "GTIN", "name"])
    row = columns.row(["red", "4006381333931"])
    assert (row.gtin, row.name, row.sku, row.attributes) == ("4006381333931", "", "", {"colour": "red"})
    assert columns.row(["", "1", "x", "", ""]).attributes == {}
    assert columns.row(["", "1", "x", "", "more"]).attributes.keys() == {""}


def test_tiny_pieces_of_an_open_quote_stay_bounded() -> None:
    reader = TableReader()
    list(reader.feed(b'a,b\n"'))
    with pytest.raises(TableMalformed):
        for _ in range(2 * MAX_RECORD_BYTES // 1000):
            list(reader.feed(b"x" * 1000))
