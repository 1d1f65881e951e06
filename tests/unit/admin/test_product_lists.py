"""Lists of the products scanned most: of a day exactly, of many days within what they say."""

from collections import Counter
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from admin.product_lists import ENTRY, ProductList, together

MOST = 3
NAMES = st.integers(0, 7).map(lambda number: number.to_bytes(16))
DAYS = st.lists(st.lists(st.lists(NAMES, min_size=1, max_size=6), max_size=8), max_size=6)


def grow(looks: list[list[bytes]]) -> tuple[ProductList, Counter[bytes]]:
    """A day's list after so many looks, and what was scanned."""
    counted: Counter[bytes] = Counter()
    day = ProductList()
    for look in looks:
        counted.update(look)
        day = day.raised({name: counted[name] for name in look}, MOST)
    return day, counted


def ranked(counted: Counter[bytes]) -> list[tuple[bytes, int]]:
    return sorted(counted.items(), key=lambda item: (-item[1], item[0]))


@given(st.lists(st.lists(NAMES, min_size=1, max_size=6), max_size=12))
def test_a_day_s_list_has_the_best_whatever_came_when(looks: list[list[bytes]]) -> None:
    day, counted = grow(looks)
    assert list(ENTRY.iter_unpack(day.listed)) == ranked(counted)[:MOST]
    assert day.complete == (len(counted) <= MOST)


@given(DAYS)
def test_many_days_together_say_what_they_do_not_know(looks: list[list[list[bytes]]]) -> None:
    days = [grow(day) for day in looks]
    truth: Counter[bytes] = Counter()
    for _, counted in days:
        truth.update(counted)
    listed, others = together([day for day, _ in days], MOST)
    for product, scans, at_most in listed:
        assert scans <= truth[product.bytes] <= at_most
    names = {product.bytes for product, _, _ in listed}
    assert max((scans for name, scans in truth.items() if name not in names), default=0) <= others
    if all(day.complete for day, _ in days):
        assert listed == [(UUID(bytes=name), scans, scans) for name, scans in ranked(truth)[:MOST]]
