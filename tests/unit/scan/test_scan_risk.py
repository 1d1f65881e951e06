"""Risk: the total, the levels, what scans alone can never do, weights, replay, and the texts of all it says."""

import json
from dataclasses import replace
from string import Formatter
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scan.card import Card, Found
from scan.counts import History
from scan.factors import Activity, Batch, FactorName, Facts, ProductState, Reports
from scan.language import read_languages
from scan.risk import (
    DEFAULT_WEIGHTS,
    RISK_VERSION,
    Corroboration,
    Level,
    RiskError,
    Weights,
    assess,
    facts_from_json,
    facts_to_json,
    replay,
)
from scan.sessions import Pattern, Place
from scan.verdict import Outcome, Verdict, judge
from trust.keyring import KeyState
from trust.token import Checked

LANGUAGES = read_languages()
BUSY = Pattern(24, 24, 24, 12, 20, 12, 9_000, 1, 500)
COPIED = Facts(pattern=BUSY, place=Place("BR", 12_127), state=ProductState.SOLD)
COUNT = st.integers(0, 70_000)
ACTIVITY = st.none() | st.builds(Activity, COUNT, COUNT, COUNT, COUNT)
FACTS = st.builds(
    Facts,
    pattern=st.none() | st.builds(Pattern, *[st.integers(0, 24)] * 6, COUNT, COUNT, st.integers(0, 2_160)),
    sessions=COUNT,
    batch=st.none() | st.builds(Batch, COUNT, COUNT, COUNT),
    device=ACTIVITY,
    source=ACTIVITY,
    state=st.none() | st.sampled_from(ProductState),
    revoked=st.booleans(),
    barred=st.booleans(),
    cleared=st.sampled_from([0, 1_795_399_131]),
    market=st.sampled_from(["", "BR", "DE"]),
    place=st.none() | st.builds(Place, st.sampled_from(["BR", "DE"]), st.integers(0, 32_768)),
    reports=st.none() | st.builds(Reports, COUNT, COUNT),
)
PERCENT = st.integers(0, 100)
WEIGHTS = st.builds(
    Weights, version=st.text(min_size=1, max_size=64), activates=st.booleans(), copies=PERCENT, devices=PERCENT,
    travel=PERCENT, market=PERCENT, velocity=PERCENT, lifecycle=PERCENT, reports=PERCENT,
    suspicious=st.integers(1, 50), likely=st.integers(50, 100),
)  # fmt: skip


@given(FACTS)
def test_facts_come_back_as_they_were_kept(facts: Facts) -> None:
    assert facts_from_json(facts_to_json(facts)) == facts


def test_facts_that_were_kept_with_their_zeros_are_read() -> None:
    told = {"device": {"minute": 1, "hour": 1, "changes": 0, "bad_tags": 0}, "reports": {"open": 0, "confirmed": 0}}
    facts = facts_from_json(json.dumps(told))
    assert facts == Facts(device=Activity(1, 1), reports=Reports())
    assert json.loads(facts_to_json(facts)) == {"device": {"minute": 1, "hour": 1}, "reports": {}}


@given(FACTS, WEIGHTS)
def test_assessments_are_sound(facts: Facts, weights: Weights) -> None:
    found = assess(facts, weights)
    assert found == assess(facts_from_json(facts_to_json(facts)), Weights.from_json(weights.to_json()))
    assert 0 <= found.total <= 100
    assert [factor.name for factor in found.factors] == list(FactorName)
    assert all(factor.score is None or 0 <= factor.score <= 100 for factor in found.factors)
    assert all(found.total >= round((factor.score or 0) * factor.weight / 100) for factor in found.factors)
    assert (found.risk_version, found.weights_version) == (RISK_VERSION, weights.version)
    assert (found.level is Level.ORDINARY) == (found.total < weights.suspicious)
    assert (found.leading is None) == (not any(factor.score and factor.weight for factor in found.factors))


@given(FACTS, WEIGHTS)
def test_scans_and_strangers_alone_never_make_a_copy(facts: Facts, weights: Weights) -> None:
    """Whatever the weights, and however many scan, probe and report from wherever."""
    strangers = replace(
        facts,
        state=ProductState.SOLD if facts.state in {ProductState.CONSUMED, ProductState.CREATED} else facts.state,
        reports=facts.reports and replace(facts.reports, confirmed=0),
    )
    assert assess(strangers, weights).level is not Level.LIKELY_COPY
    assert not assess(strangers, weights).corroborations


@pytest.mark.parametrize(
    ("facts", "weights", "why"),
    [
        (replace(COPIED, reports=Reports(0, 1)), DEFAULT_WEIGHTS, Corroboration.CONFIRMED_REPORT),
        (replace(COPIED, state=ProductState.CONSUMED), DEFAULT_WEIGHTS, Corroboration.CONSUMED),
        (replace(COPIED, state=ProductState.CREATED), Weights(activates=True), Corroboration.NOT_ACTIVATED),
    ],
)
def test_with_a_word_from_somebody_known_it_does(facts: Facts, weights: Weights, why: Corroboration) -> None:
    found = assess(facts, weights)
    assert found.level is Level.LIKELY_COPY
    assert found.corroborations == {why}


def test_a_word_without_copies_is_not_enough() -> None:
    quiet = Pattern(1, 1, 1, 1)
    assert assess(replace(COPIED, pattern=quiet, state=ProductState.CONSUMED)).level is Level.SUSPICIOUS
    assert assess(replace(COPIED, state=ProductState.CREATED)).level is Level.SUSPICIOUS, "it never activates"


def test_copies_alone_are_suspicious_and_no_other_caller_factor_is() -> None:
    assert assess(COPIED).level is Level.SUSPICIOUS
    assert assess(COPIED).leading is FactorName.COPIES
    crowd = Activity(minute=65_535, hour=65_535, changes=65_535, bad_tags=65_535)
    assert assess(Facts(source=crowd)).level is Level.SUSPICIOUS
    assert assess(Facts(source=replace(crowd, minute=1, changes=0))).level is Level.ORDINARY, "a neighbour probes"
    assert assess(Facts(source=replace(crowd, bad_tags=0))).level is Level.ORDINARY, "a busy address"


def test_what_was_not_checked_adds_nothing_and_is_said() -> None:
    everything = replace(COPIED, source=Activity(1, 1), reports=Reports(0, 0), market="BR")
    placeless = assess(replace(everything, place=None, pattern=replace(BUSY, places=0)))
    unchecked = {factor.name for factor in placeless.factors if factor.score is None}
    assert unchecked == {FactorName.COPIES, FactorName.TRAVEL, FactorName.MARKET}
    assert placeless.total == 30 < assess(everything).total
    assert assess(Facts()).total == 0
    assert assess(Facts()).leading is None


def test_totals_are_these() -> None:
    """Numbers that were given out once; another one is another RISK_VERSION."""
    known = [
        COPIED,
        replace(COPIED, pattern=replace(BUSY, returns=3, jumps=1)),
        replace(COPIED, market="DE"),
        replace(COPIED, reports=Reports(2, 0)),
        Facts(state=ProductState.EXPIRED),
    ]
    assert [assess(facts).total for facts in known] == [79, 63, 82, 85, 42]


@given(st.lists(FACTS, max_size=5), WEIGHTS)
def test_replay_is_what_would_have_been_said(history: list[Facts], weights: Weights) -> None:
    assert list(replay(history, weights)) == [assess(facts, weights) for facts in history]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not JSON"),
        ("[]", "not a JSON object"),
        ('{"copys": 1}', "unknown: copys"),
        ('{"copies": 101}', "copies: a whole number from 0 to 100"),
        ('{"copies": -1}', "copies"),
        ('{"copies": 1.5}', "copies"),
        ('{"copies": true}', "copies"),
        ('{"copies": null}', "copies"),
        ('{"suspicious": 0}', "suspicious: at least 1"),
        ('{"suspicious": 71}', "not above likely"),
        ('{"activates": 1}', "activates: true or false"),
        ('{"version": ""}', "version: 1 to 64"),
        ('{"version": 7}', "version: 1 to 64"),
    ],
)
def test_weights_that_are_none(text: str, message: str) -> None:
    with pytest.raises(RiskError, match=message):
        Weights.from_json(text)


def test_weights_come_back() -> None:
    weights = Weights(version="acme-3", copies=60, activates=True)
    assert Weights.from_json(weights.to_json()) == weights
    assert Weights.from_json("{}") == DEFAULT_WEIGHTS


@pytest.mark.parametrize(
    "text",
    [
        *("{", "7", '{"x": 1}', '{"state": 9}', '{"place": ["BR"]}'),
        *('{"pattern": 1}', '{"pattern": {"x": 1}}', '{"batch": {"sold": 1}}'),
    ],
)
def test_facts_that_are_none(text: str) -> None:
    with pytest.raises(RiskError):
        facts_from_json(text)


def test_facts_are_kept_small() -> None:
    assert facts_to_json(Facts()) == b"{}"
    assert len(facts_to_json(COPIED)) < 250


CHECKED = Checked(bytes(16), 1, KeyState.SIGNING)
HISTORY = History(2)


def judged(facts: Facts, key: KeyState = KeyState.SIGNING) -> tuple[Verdict, Outcome]:
    judgement = judge(CHECKED._replace(state=key), None, HISTORY, assess(facts))
    return judgement.verdict, judgement.checks.scan_history


def test_verdicts() -> None:
    assert judged(Facts()) == (Verdict.GENUINE_CODE, Outcome.PASSED)
    assert judged(COPIED) == (Verdict.SUSPICIOUS, Outcome.FAILED)
    assert judged(Facts(state=ProductState.EXPIRED)) == (Verdict.SUSPICIOUS, Outcome.PASSED)
    assert judged(replace(COPIED, reports=Reports(0, 1)))[0] is Verdict.LIKELY_COPY
    assert judged(replace(COPIED, reports=Reports(0, 1)), KeyState.REVOKED)[0] is Verdict.BLOCKED


def test_a_withdrawn_product_stays_blocked() -> None:
    card = Card(UUID(int=5), UUID(int=7), UUID(int=9), 0, 1, ProductState.STOLEN, "COMPLETED", "Factory", {})
    for facts in (Facts(state=ProductState.STOLEN), COPIED):
        assert judge(CHECKED, Found(card, True), HISTORY, assess(facts)).verdict is Verdict.BLOCKED


MESSAGES = {
    "copies": {"ordinary": "sessions places returns", "spread": "sessions places returns", "flood": "sessions hours"},
    "devices": {"ordinary": "devices sources usual", "many": "devices sources usual"},
    "travel": {"possible": "", "impossible": "jumps km minutes"},
    "market": {"inside": "market", "abroad": "market country", "diverted": "market country share"},
    "velocity": {"ordinary": "", "fast": "minute hour changes"},
    "lifecycle": dict.fromkeys(
        ("ordinary", "withdrawn", "consumed", "expired", "not_activated", "revoked", "blocked"), ""
    ),
    "reports": {"none": "", "reported": "open", "confirmed": "", "probing": "bad_tags"},
}
"""Every code of every factor, and the evidence that its text names."""


def test_every_message_has_a_text_and_every_text_a_message() -> None:
    texts = {key: text for key, text in LANGUAGES["en"].texts.items() if key.startswith("risk.")}
    codes = {f"risk.{name}.{code}": places for name, found in MESSAGES.items() for code, places in found.items()}
    plain = dict.fromkeys((f"risk.{name}{end}" for name in MESSAGES for end in ("", ".not_checked")), "")
    assert {key: _places(text) for key, text in texts.items()} == {
        key: set(places.split()) for key, places in (codes | plain).items()
    }


@given(FACTS, st.booleans())
def test_every_message_can_be_written(facts: Facts, activates: bool) -> None:
    for factor in assess(facts, Weights(activates=activates)).factors:
        for language in LANGUAGES.values():
            text = language.texts[f"risk.{factor.name.value}.{factor.code}"]
            assert "{" not in text.format(**dict(factor.evidence))
        assert json.loads(json.dumps(factor.evidence)) == [list(pair) for pair in factor.evidence]


def _places(text: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(text) if name}
