"""The model of Valkey's counters: what opens a session, what is capped, and what is forgotten."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scan.factors import Activity, Batch
from scan.sessions import DAY, SESSIONS_KEPT, SESSIONS_PER_SOURCE, Place
from tests.simulation.counters import MOST, BatchKey, Caller, CallerKey, Product, Seen

NOW = 1_767_225_600
HERE, THERE = Place("BR", 12_127), Place("BR", 15_000)

CALLERS = st.builds(
    Caller, st.integers(0, 40), st.integers(0, 20), st.sampled_from([None, HERE, THERE, Place("BR", 0)])
)


def scanned(*callers: tuple[int, Caller]) -> Seen:
    product = Product()
    return [product.scan(NOW + seconds, caller) for seconds, caller in callers][-1]


def test_scans_of_one_device_in_one_place_are_one_session() -> None:
    seen = scanned((0, Caller(1, 1, HERE)), (60, Caller(1, 2, HERE)), (7_200, Caller(1, 1, HERE)))
    assert (seen.scans, seen.opened, seen.new, len(seen.sessions)) == (3, 1, False, 1)
    assert seen.sessions[0].at == NOW + 7_200, "of its last scan"


@pytest.mark.parametrize(
    ("seconds", "caller"),
    [(60, Caller(2, 1, HERE)), (60, Caller(1, 1, THERE)), (60, Caller(1, 1, None)), (DAY, Caller(1, 1, HERE))],
)
def test_another_device_or_place_or_day_is_another_session(seconds: int, caller: Caller) -> None:
    seen = scanned((0, Caller(1, 1, HERE)), (seconds, caller))
    assert (seen.opened, seen.new, len(seen.sessions)) == (2, True, 2)


def test_a_session_that_goes_on_becomes_the_last() -> None:
    seen = scanned((0, Caller(1, 1, HERE)), (60, Caller(2, 2, THERE)), (120, Caller(1, 1, HERE)))
    assert [session.device for session in seen.sessions] == [2, 1]


def test_one_address_opens_three_sessions_a_day() -> None:
    many = [(number, Caller(number, 7, HERE)) for number in range(50)]
    assert scanned(*many).opened == SESSIONS_PER_SOURCE
    assert not scanned(*many).new
    assert scanned(*many, (DAY + 10, Caller(99, 7, HERE))).new


def test_a_flood_is_forgotten_down_to_24_sessions() -> None:
    seen = scanned(*[(number, Caller(number, number, HERE)) for number in range(1_000)])
    assert (seen.scans, seen.opened, len(seen.sessions)) == (1_000, 1_000, SESSIONS_KEPT)
    assert seen.sessions[-1].device == 999


@given(st.lists(st.tuples(st.integers(0, 2 * DAY), CALLERS), min_size=1, max_size=60))
def test_whatever_comes(events: list[tuple[int, Caller]]) -> None:
    events.sort(key=lambda event: event[0])
    seen = scanned(*events)
    assert 1 <= len(seen.sessions) <= min(SESSIONS_KEPT, seen.opened)
    assert seen.opened <= seen.scans == len(events)
    assert list(seen.sessions) == sorted(seen.sessions, key=lambda session: session.at)


def test_what_a_caller_did_in_this_minute_and_hour() -> None:
    key = CallerKey()
    assert key.scan(NOW, 1) == Activity(1, 1, 0, 0)
    assert key.scan(NOW, 1) == Activity(2, 2, 0, 0)
    key.bad_tag(NOW + 1)
    assert key.scan(NOW + 2, 2) == Activity(3, 3, 1, 1)
    assert key.scan(NOW + 60, 1) == Activity(1, 4, 2, 1)
    assert key.scan(NOW + 3_600, 2) == Activity(1, 1, 0, 0)


def test_what_a_caller_did_is_capped() -> None:
    key = CallerKey()
    for product in range(MOST + 5):
        key.bad_tag(NOW)
        last = key.scan(NOW, product)
    assert last == Activity(MOST, MOST, MOST, MOST)


def test_a_batch_counts_products_once() -> None:
    batch, one, other = BatchKey(), Product(), Product()
    assert batch.scan(one.scan(NOW, Caller(1, 1, HERE)), abroad=True) == Batch(1, 1, 1)
    assert batch.scan(one.scan(NOW, Caller(1, 1, HERE)), abroad=True) == Batch(1, 1, 1)
    assert batch.scan(one.scan(NOW, Caller(2, 2, HERE)), abroad=True) == Batch(1, 1, 2)
    assert batch.scan(other.scan(NOW, Caller(2, 2, HERE)), abroad=False) == Batch(2, 1, 3)
