"""A scan judged again from its event: the same as it was judged at first."""

import orjson
import pytest

from scan.counts import HEAD, Circumstances, Counts, facts
from scan.event import NO_COUNTS, Said, Source
from scan.factors import Activity, Batch, ProductState, Reports
from scan.judging import Judging
from scan.risk import Weights, assess, facts_from_json
from scan.sessions import Place, Session, pack

NOW = 1_795_399_131_437_000
SESSIONS = [Session(NOW // 1_000_000 - 60 * n, n, n, Place("BR", 12_127 + n)) for n in range(24, 0, -1)]
TOLD = HEAD.pack(NOW, NOW - 1, 30, 24, 2, 1, *(1, 2, 3, 4), *(5, 6, 7, 8), *(40, 10, 60), 0) + pack(SESSIONS)
ABROAD = Circumstances(True, ProductState.SOLD, False, "BR", Place("US", 20_000))


def said(circumstances: Circumstances, *, blocked: bool = False) -> bytes:
    kept = circumstances.to_dict(blocked=blocked)
    return Said(None, None, None, None, "", Source.UNARY, kept).to_json()


def test_counts_are_read_as_they_were_told() -> None:
    counts = Counts.read(TOLD)
    assert (counts.now, counts.first, counts.scans, counts.opened) == (NOW, NOW - 1, 30, 24)
    assert (counts.reports, counts.batch) == (Reports(2, 1), Batch(40, 10, 60))
    assert (counts.device, counts.source) == (Activity(1, 2, 3, 4), Activity(5, 6, 7, 8))
    with pytest.raises(ValueError, match="no counts"):
        Counts.read(TOLD[: HEAD.size - 1])


@pytest.mark.parametrize(
    "circumstances",
    [
        ABROAD,
        Circumstances(True, None, False, "", None),
        Circumstances(False, ProductState.CREATED, True, "BR", Place("BR", 0)),
    ],
)
def test_the_journal_judges_as_the_answer_did(circumstances: Circumstances) -> None:
    weights = Weights(version="tests", activates=True)
    assert Circumstances.from_dict(orjson.loads(said(circumstances))["facts"]) == circumstances
    known = facts(circumstances, Counts.read(TOLD))
    answered = assess(known, weights)
    judged = Judging(weights)(said(circumstances), TOLD)
    assert (judged.total, judged.risk_version, judged.weights_version) == (answered.total, 1, "tests")
    assert orjson.loads(judged.factors) == {factor.name.value: factor.score for factor in answered.factors}
    assert assess(facts_from_json(judged.facts), weights) == answered, "history can be judged anew"


def test_what_is_blocked_stays_blocked_and_what_was_not_counted_has_no_risk() -> None:
    judging = Judging(Weights())
    assert judging(said(ABROAD, blocked=True), TOLD).verdict == 4
    uncounted = judging(said(ABROAD), NO_COUNTS)
    assert (uncounted.verdict, uncounted.total) == (1, None)
    assert judging(said(ABROAD, blocked=True), NO_COUNTS).verdict == 4


def test_weights_that_came_with_the_event_go_before_those_of_the_writer() -> None:
    own = Weights(version="own-1", market=100)
    event = Said(None, None, None, None, "", Source.UNARY, ABROAD.to_dict(blocked=False), own.to_json()).to_json()
    judged, answered = Judging(Weights())(event, TOLD), assess(facts(ABROAD, Counts.read(TOLD)), own)
    assert (judged.total, judged.weights_version) == (answered.total, "own-1")


@pytest.mark.parametrize("broken", [b"{}", b'{"facts": {}}', b'{"facts": {"state": 99}}', b"[]"])
def test_what_cannot_be_judged_raises(broken: bytes) -> None:
    with pytest.raises((KeyError, TypeError, ValueError)):
        Judging(Weights())(broken, TOLD)
