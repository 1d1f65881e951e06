"""Attempts at one endpoint at a time, and the turns of those that wait."""

from contextlib import ExitStack
from uuid import uuid4

import pytest

from factory.lanes import GUESSED_SECONDS, LONGEST_SECONDS, WIDTH, Lanes
from tests.fakes.clock import HandClock


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def lanes(clock: HandClock) -> Lanes:
    return Lanes(clock)


def test_room_is_for_so_many_and_another_endpoint_has_its_own(lanes: Lanes) -> None:
    full, other = uuid4(), uuid4()
    with ExitStack() as stack:
        for _ in range(WIDTH):
            assert lanes.wait(full) == 0
            stack.enter_context(lanes.attempt(full))
        assert lanes.wait(full) > 0
        assert lanes.wait(other) == 0
    assert lanes.wait(full) == 0


def test_each_that_waits_comes_later_but_none_too_late(lanes: Lanes) -> None:
    endpoint = uuid4()
    with ExitStack() as stack:
        for _ in range(WIDTH):
            stack.enter_context(lanes.attempt(endpoint))
        waits = [lanes.wait(endpoint) for _ in range(5000)]
    assert waits[:3] == pytest.approx([GUESSED_SECONDS / WIDTH * place for place in (1, 2, 3)])
    assert waits == sorted(waits)
    assert waits[-1] == pytest.approx(LONGEST_SECONDS)


@pytest.mark.parametrize(("took", "step"), [(10.0, 10 / WIDTH), (0.0, 0.05 / WIDTH)])
def test_turns_follow_how_long_the_last_attempt_took(clock: HandClock, lanes: Lanes, took: float, step: float) -> None:
    endpoint = uuid4()
    with ExitStack() as stack:
        for _ in range(WIDTH):
            stack.enter_context(lanes.attempt(endpoint))
        with lanes.attempt(endpoint):
            clock.seconds += took
        assert [lanes.wait(endpoint) for _ in range(2)] == pytest.approx([step, 2 * step])


def test_attempt_that_fails_makes_room(lanes: Lanes) -> None:
    endpoint = uuid4()
    for _ in range(WIDTH + 1):
        with pytest.raises(ZeroDivisionError), lanes.attempt(endpoint):
            raise ZeroDivisionError
    assert lanes.wait(endpoint) == 0
