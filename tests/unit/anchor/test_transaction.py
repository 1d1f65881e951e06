from hypothesis import given
from hypothesis import strategies as st

from anchor.chain import Fees
from anchor.transaction import bumped, capped

wei = st.integers(min_value=0, max_value=10**13)


@st.composite
def fees(draw: st.DrawFn) -> Fees:
    low, high = sorted((draw(wei), draw(wei)))
    return Fees(high, low)


@given(last=fees(), now=fees(), cap=wei)
def test_a_bump_is_enough_and_within_the_cap_or_none(last: Fees, now: Fees, cap: int) -> None:
    new = bumped(last, now, cap)
    if new is None:
        assert last.max_fee * 1125 > (cap - 1) * 1000 or last.max_fee >= cap
        return
    assert new.priority_fee <= new.max_fee <= cap
    for before, after in ((last.max_fee, new.max_fee), (last.priority_fee, new.priority_fee)):
        assert after > before
        assert after * 1000 >= before * 1125


@given(last=fees(), now=fees())
def test_a_bump_follows_the_market(last: Fees, now: Fees) -> None:
    new = bumped(last, now, 10**20)
    assert new is not None
    assert new.max_fee >= now.max_fee
    assert new.priority_fee >= now.priority_fee


@given(now=fees(), cap=wei)
def test_first_fees_are_capped(now: Fees, cap: int) -> None:
    first = capped(now, cap)
    assert first == Fees(min(now.max_fee, cap), min(now.priority_fee, cap))
