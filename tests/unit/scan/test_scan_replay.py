"""Scans judged anew: under the same weights nothing moves, under others what should."""

import pytest

from scan.factors import Facts, ProductState
from scan.judging import NUMBERS
from scan.replay import Past, Shift
from scan.risk import DEFAULT_WEIGHTS, Weights, assess, facts_to_json
from scan.sessions import Place
from scan.verdict import RAISED, Verdict

ABROAD = Facts(market="BR", place=Place("US", 0))


def past(facts: Facts, weights: Weights = DEFAULT_WEIGHTS, *, blocked: bool = False) -> Past:
    """A scan as the journal keeps it."""
    found = assess(facts, weights)
    verdict = Verdict.BLOCKED if blocked else RAISED.get(found.level, Verdict.GENUINE_CODE)
    return Past(NUMBERS[verdict], found.total, facts_to_json(facts))


def test_the_same_weights_move_nothing() -> None:
    shift = Shift()
    for facts in (Facts(), ABROAD, Facts(state=ProductState.STOLEN)):
        shift.add(past(facts), DEFAULT_WEIGHTS)
    assert (shift.judged, shift.moved, shift.raised, shift.lowered) == (3, 0, 0, 0)
    assert shift.before == shift.after
    assert shift.sum_before == shift.sum_after


def test_heavier_weights_raise_and_lighter_ones_lower() -> None:
    for weights, moved in (
        (Weights(market=100, suspicious=10), Verdict.SUSPICIOUS),
        (Weights(market=1), Verdict.GENUINE_CODE),
    ):
        shift, scan = Shift(), past(ABROAD)
        shift.add(scan, weights)
        assert scan.total is not None
        assert shift.raised == (moved is Verdict.SUSPICIOUS)
        assert shift.lowered == (moved is Verdict.GENUINE_CODE)
        assert shift.verdicts(after=True) == {moved: 1}


def test_what_is_blocked_stays_so() -> None:
    shift = Shift()
    shift.add(past(ABROAD, blocked=True), Weights(market=0))
    assert shift.moves == {(Verdict.BLOCKED, Verdict.BLOCKED): 1}
    assert shift.lowered == 1


@pytest.mark.parametrize("facts", [b"", b"[]", b"{", b'{"nope": 1}', b'{"state": "NOPE"}'])
def test_facts_that_cannot_be_read_are_counted(facts: bytes) -> None:
    shift = Shift()
    shift.add(Past(1, 10, facts), DEFAULT_WEIGHTS)
    shift.add(past(Facts())._replace(verdict=99), DEFAULT_WEIGHTS)
    shift.add(Past(1, None, facts), DEFAULT_WEIGHTS)
    assert (shift.scans, shift.unreadable, shift.unscored, shift.judged) == (3, 2, 1, 0)
