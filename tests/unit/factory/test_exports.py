"""Files of products: cells that are no formulas, and nothing lost on the way out and in again."""

import csv
import io
from unicodedata import normalize

import orjson
from hypothesis import given
from hypothesis import strategies as st

from factory.exports import COLUMNS, STATES, csv_cells
from mesh.tables import csv_lines, escaped
from trust.canonical import attributes_bytes

characters = st.characters(codec="utf-8", categories=("L", "N", "P", "S"))
values = st.text(characters, max_size=8).map(lambda text: normalize("NFC", text))


@given(st.dictionaries(st.sampled_from(["sku", "name", "colour", "a1"]), values))
def test_cells_hold_all_attributes(attributes: dict[str, str]) -> None:
    text = csv_lines([csv_cells(attributes_bytes(attributes))])
    line = next(csv.reader(io.StringIO(text, newline="")))
    cells = dict(zip(COLUMNS[5:], line, strict=True))
    others = orjson.loads(cells.pop("attributes") or "{}")
    known = {name: cell for name, cell in cells.items() if cell}
    assert known == {name: escaped(value) for name, value in attributes.items() if name not in others and value}
    assert others == {name: value for name, value in attributes.items() if name in {"colour", "a1"}}


def test_first_columns_and_states() -> None:
    assert COLUMNS[:5] == ("index", "product_id", "token", "url", "state")
    assert STATES[0] == "CREATED"
