"""The local limiter keeps GCRA's promise: never more than burst at once, never more than rate in the long run."""

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from mesh.limits import LocalLimiter, Rate


class SetClock:
    def __init__(self) -> None:
        self.seconds = 1000.0

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.seconds, UTC)

    def monotonic(self) -> float:
        return self.seconds


@given(st.floats(0.5, 100), st.integers(1, 20), st.lists(st.floats(0, 2), min_size=1, max_size=100))
async def test_never_more_than_rate_and_burst(per_second: float, burst: int, pauses: list[float]) -> None:
    clock = SetClock()
    limiter = LocalLimiter(clock)
    taken = 0
    for pause in pauses:
        clock.seconds += pause
        taken += await limiter.take("k", Rate(per_second, burst)) == 0
        assert taken <= burst + (clock.seconds - 1000 - pauses[0] + pauses[0]) * per_second + 1e-6


async def test_says_when_to_come_back() -> None:
    clock = SetClock()
    limiter = LocalLimiter(clock)
    rate = Rate(2, 1)
    assert await limiter.take("k", rate) == 0
    wait = await limiter.take("k", rate)
    assert 0 < wait <= 0.5
    clock.seconds += wait
    assert await limiter.take("k", rate) == 0


async def test_callers_do_not_share_and_memory_is_bounded() -> None:
    limiter = LocalLimiter(SetClock(), capacity=2)
    rate = Rate(1, 1)
    assert [await limiter.take(key, rate) for key in "abc"] == [0, 0, 0]
    assert await limiter.take("a", rate) == 0, "the one seen longest ago is forgotten"
    assert await limiter.take("c", rate) > 0
