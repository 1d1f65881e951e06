"""Rows of an import: every row is either issued or reported, and never both."""

from types import SimpleNamespace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from factory.attributes import Reason
from factory.importing import check_rows
from trust.canonical import attributes_bytes


def row(**values: Any) -> Any:
    empty = dict.fromkeys(("sku", "gtin", "serial", "name", "market", "expiry"), "")
    return SimpleNamespace(**{**empty, "attributes": {}, **values})


def test_good_rows_keep_their_order_and_bad_ones_their_number() -> None:
    checked = check_rows([row(sku="a"), row(gtin="1"), row(sku="b"), row()], 40, {})
    assert checked.attributes == [b'{"sku":"a"}', b'{"sku":"b"}']
    assert [(error.row, error.column, error.reason) for error in checked.errors] == [
        (41, "gtin", Reason.GTIN),
        (43, "", Reason.EMPTY),
    ]


def test_row_goes_before_the_template_and_without_anything_is_the_template() -> None:
    checked = check_rows([row(sku="own"), row()], 0, {"sku": "template", "brand": "b"})
    assert checked.attributes == [b'{"brand":"b","sku":"own"}', None]


def test_column_in_the_free_attributes_is_refused_and_a_long_key_is_cut() -> None:
    checked = check_rows([row(attributes={"sku": "a"}), row(attributes={"K" * 100: "a"})], 0, {})
    assert not checked.attributes
    assert [(error.column, error.reason) for error in checked.errors] == [("sku", Reason.KEY), ("K" * 40, Reason.KEY)]


texts = st.text(max_size=8) | st.sampled_from(["4006381333931", "BR", "2030-01-31", "x" * 301])


@given(st.lists(st.fixed_dictionaries({}, optional=dict.fromkeys(("sku", "gtin", "name", "market", "expiry"), texts))))
def test_every_row_is_issued_or_reported(values: list[dict[str, str]]) -> None:
    checked = check_rows([row(**value) for value in values], 0, {})
    assert len(checked.attributes) + len(checked.errors) == len(values)
    reported = {error.row for error in checked.errors}
    issued = [value for number, value in enumerate(values) if number not in reported]
    assert checked.attributes == [attributes_bytes({k: v for k, v in value.items() if v}) for value in issued]
