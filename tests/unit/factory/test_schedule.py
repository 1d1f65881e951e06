"""When a delivery is attempted again."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from factory.delivering import HOUR, JITTER, SCHEDULE, retry_delay


def test_ten_attempts_in_three_days_each_wait_longer_than_the_one_before() -> None:
    assert len(SCHEDULE) + 1 == 10
    assert list(SCHEDULE) == sorted(set(SCHEDULE))
    assert 72 * HOUR <= sum(SCHEDULE) <= 76 * HOUR
    assert sum(SCHEDULE) * (1 - JITTER) >= 60 * HOUR


@given(st.sampled_from(SCHEDULE), st.integers(0, 2**32))
def test_jitter_is_a_fifth_either_way(planned: float, seed: int) -> None:
    assert planned * 0.8 <= retry_delay(planned, None, Random(seed)) <= planned * 1.2


def test_jitter_spreads() -> None:
    random = Random(7)
    assert len({retry_delay(300, None, random) for _ in range(100)}) == 100


@pytest.mark.parametrize(
    ("asked", "least", "most"), [(None, 4, 6), (0.0, 4, 6), (1.0, 4, 6), (120.0, 120, 120), (1e7, 86_400, 86_400)]
)
def test_longer_waits_are_heeded_up_to_a_day(asked: float | None, least: float, most: float) -> None:
    assert least <= retry_delay(5.0, asked, Random(1)) <= most
