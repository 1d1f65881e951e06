"""Rules of known attributes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from factory.attributes import MARKETS, Reason, encode_template, is_date, is_gtin
from mesh.errors import ValidationFailed


@pytest.mark.parametrize(
    "text",
    ["96385074", "73513537", "036000291452", "4006381333931", "07613269795179", "10614141000415", "0000000000000"],
)
def test_gtin_with_its_check_digit_is_one(text: str) -> None:
    assert is_gtin(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "4006381333930",
        "400638133393",
        "40063813339311",
        "400638133393X",
        " 4006381333931",
        "４００６３８１３３３９３１",
    ],
)
def test_anything_else_is_none(text: str) -> None:
    assert not is_gtin(text)


@given(st.sampled_from([7, 11, 12, 13]), st.data())
def test_exactly_one_check_digit_fits(length: int, data: st.DataObject) -> None:
    digits = data.draw(st.text("0123456789", min_size=length, max_size=length))
    weighted = sum(int(digit) * (3 if place % 2 == 0 else 1) for place, digit in enumerate(reversed(digits)))
    assert [check for check in "0123456789" if is_gtin(digits + check)] == [str(-weighted % 10)]


@given(st.dates())
def test_every_day_is_a_date(day: object) -> None:
    assert is_date(str(day))


@pytest.mark.parametrize(
    "text",
    [
        "2026-02-30",
        "20260101",
        "2026-W01-1",
        "2026-1-01",
        "2026-01-01T00:00",
        "2026/01/01",
        "0000-01-01",
        "２026-01-01",
    ],
)
def test_no_other_text_is(text: str) -> None:
    assert not is_date(text)


def test_markets_are_those_of_iso_3166() -> None:
    assert len(MARKETS) == 249
    assert {"BR", "DE", "US", "GB", "PS", "SS"} <= MARKETS
    assert not MARKETS & {"XX", "EU", "UK", "AN", "YU", "ZZ", "br"}


def test_template_has_canonical_bytes() -> None:
    assert encode_template({"name": 'a "b"', "gtin": "4006381333931"}) == b'{"gtin":"4006381333931","name":"a \\"b\\""}'
    assert encode_template({}) == b"{}"


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        ({"gtin": "4006381333932"}, Reason.GTIN),
        ({"market": "br"}, Reason.MARKET),
        ({"expiry": "2026-02-30"}, Reason.DATE),
        ({"sku": "x" * 65}, Reason.TOO_LONG),
        ({"note": "x" * 5000}, Reason.TOO_LONG),
        ({"No": "x"}, Reason.KEY),
        ({"note": "\x00"}, Reason.TEXT),
    ],
)
def test_template_that_breaks_a_rule_names_it(template: dict[str, str], reason: Reason) -> None:
    with pytest.raises(ValidationFailed) as error:
        encode_template(template)
    violation = error.value.violations[0]
    assert (violation.field, violation.rule) == ("template", f"template.{reason.lower()}")
