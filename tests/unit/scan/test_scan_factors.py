"""Each of the seven factors by itself: what it finds, what it says of it, and when it was not checked."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scan.factors import (
    FACTORS,
    Activity,
    Batch,
    FactorName,
    Facts,
    Finding,
    ProductState,
    Reports,
    copies,
    devices,
    lifecycle,
    market,
    ramp,
    reports,
    travel,
    velocity,
)
from scan.sessions import Pattern, Place

HERE, COUNTRY_ONLY = Place("BR", 12_127), Place("BR", 0)
SPREAD = Pattern(sessions=20, devices=20, sources=18, places=4, returns=9, hours=200)
FLOOD = Pattern(sessions=24, devices=20, sources=16, hours=23)


def facts(**known: object) -> Facts:
    return replace(Facts(), **known)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", FactorName)
def test_nothing_known_is_nothing_checked(name: FactorName) -> None:
    assert FACTORS[name](Facts(), False) == Finding(None, "not_checked")


def test_ramp() -> None:
    assert [ramp(value, 10, 20) for value in (0, 10, 11, 15, 19, 20, 99)] == [0, 0, 10, 50, 90, 100, 100]


@pytest.mark.parametrize(
    ("pattern", "score"),
    [
        (SPREAD, 100),
        (replace(SPREAD, places=2), 50),
        (replace(SPREAD, places=1), 0),
        (replace(SPREAD, returns=1), 0),
        (replace(SPREAD, returns=2), 33),
        (replace(SPREAD, devices=8), 0),
        (replace(SPREAD, sources=1), 0),
        (replace(SPREAD, sources=11), 42),
    ],
)
def test_copies(pattern: Pattern, score: int) -> None:
    code = "spread" if score else "ordinary"
    evidence = (("sessions", 20), ("places", pattern.places), ("returns", pattern.returns))
    assert copies(facts(pattern=pattern), False) == Finding(score, code, evidence)


def test_copies_need_places() -> None:
    assert copies(facts(pattern=replace(SPREAD, places=0)), False).score is None


def test_a_flood_needs_no_places() -> None:
    evidence = (("sessions", 24), ("hours", 23))
    assert copies(facts(pattern=FLOOD), False) == Finding(100, "flood", evidence)
    for less in ({"hours": 24}, {"sessions": 23}, {"devices": 15}, {"sources": 15}):
        assert copies(facts(pattern=replace(FLOOD, **less)), False).score is None


PATTERNS = st.builds(Pattern, *[st.integers(0, 24)] * 5, hours=st.sampled_from([0, 100]))


@given(PATTERNS, PATTERNS)
def test_more_of_anything_never_lowers_copies_and_devices(one: Pattern, other: Pattern) -> None:
    names = ("sessions", "devices", "sources", "places", "returns")
    more = replace(one, **{name: max(getattr(one, name), getattr(other, name)) for name in names})
    for factor in (copies, devices):
        assert (factor(facts(pattern=more), False).score or 0) >= (factor(facts(pattern=one), False).score or 0)


@pytest.mark.parametrize(
    ("batch", "usual", "score"),
    [
        (None, 1, 100),
        (Batch(20, 0, 400), 1, 100),
        (Batch(21, 0, 30 + 20), 1, 100),
        (Batch(21, 0, 30 + 21), 2, 100),
        (Batch(21, 0, 30 + 80), 4, 66),
        (Batch(1_001, 0, 30 + 100_000), 4, 66),
        (Batch(21, 0, 10), 1, 100),
    ],
)
def test_devices_beside_the_rest_of_the_batch(batch: Batch | None, usual: int, score: int) -> None:
    evidence = (("devices", 20), ("sources", 18), ("usual", usual))
    assert devices(facts(pattern=SPREAD, sessions=30, batch=batch), False) == Finding(score, "many", evidence)


def test_a_few_devices_are_nothing() -> None:
    found = devices(facts(pattern=Pattern(9, 3, 9)), False)
    assert (found.score, found.code) == (0, "ordinary")


def test_travel() -> None:
    one = Pattern(2, 2, 2, 2, jumps=1, jump_km=9_000, jump_minutes=30)
    evidence = (("jumps", 1), ("km", 9_000), ("minutes", 30))
    assert travel(facts(pattern=one, place=HERE), False) == Finding(50, "impossible", evidence)
    assert [travel(facts(pattern=replace(one, jumps=n), place=HERE), False).score for n in (0, 2, 3, 9)] == [
        *(0, 75, 100, 100)
    ]
    assert travel(facts(pattern=one), False).score is None
    assert travel(facts(pattern=one, place=COUNTRY_ONLY), False).score is None


@pytest.mark.parametrize(
    ("batch", "score", "code", "share"),
    [
        (None, 30, "abroad", 0),
        (Batch(19, 19, 40), 30, "abroad", 0),
        (Batch(100, 10, 200), 30, "abroad", 10),
        (Batch(100, 25, 200), 65, "diverted", 25),
        (Batch(100, 40, 200), 100, "diverted", 40),
    ],
)
def test_market(batch: Batch | None, score: int, code: str, share: int) -> None:
    abroad = facts(market="AR", place=COUNTRY_ONLY, batch=batch)
    evidence = (("market", "AR"), ("country", "BR"), ("share", share))
    assert market(abroad, False) == Finding(score, code, evidence)
    assert market(replace(abroad, market="BR"), False).score == 0
    assert market(replace(abroad, market=""), False).score is None
    assert market(replace(abroad, place=None), False).score is None


@pytest.mark.parametrize(
    ("device", "source", "score"),
    [
        (Activity(10, 60, 30), Activity(100, 600, 300), 0),
        (Activity(25, 60, 1), None, 50),
        (Activity(2, 90, 115), None, 50),
        (Activity(1, 1), Activity(400, 9_000, 0), 50),
        (None, Activity(1, 9_000, 65_535), 50),
        (Activity(40, 90), Activity(40, 90), 100),
    ],
)
def test_velocity(device: Activity | None, source: Activity | None, score: int) -> None:
    found = velocity(facts(device=device, source=source), False)
    assert (found.score, found.code) == (score, "fast" if score else "ordinary")


def test_velocity_tells_of_whoever_is_fast() -> None:
    busy = facts(device=Activity(1, 1, 0), source=Activity(400, 900, 7))
    assert velocity(busy, False).evidence == (("minute", 400), ("hour", 900), ("changes", 7))


@pytest.mark.parametrize("state", ProductState)
def test_lifecycle(state: ProductState) -> None:
    scores = {"CONSUMED": 100, "RECALLED": 100, "STOLEN": 100, "DESTROYED": 100, "EXPIRED": 70}
    found = lifecycle(facts(state=state), False)
    assert (found.score, found.evidence) == (scores.get(state.name, 0), (("state", state.name),))
    assert lifecycle(facts(state=state, revoked=True, barred=True), False) == Finding(100, "revoked")
    assert lifecycle(facts(state=state, barred=True), False) == Finding(100, "blocked")
    activated = lifecycle(facts(state=state), True)
    assert activated == (Finding(80, "not_activated", (("state", "CREATED"),)) if state == 0 else found)


@pytest.mark.parametrize(
    ("known", "score", "code"),
    [
        ({"reports": Reports(0, 0)}, 0, "none"),
        ({"reports": Reports(1, 0)}, 20, "reported"),
        ({"reports": Reports(1_000, 0)}, 50, "reported"),
        ({"reports": Reports(0, 1)}, 100, "confirmed"),
        ({"device": Activity(bad_tags=5)}, 0, "none"),
        ({"device": Activity(bad_tags=50)}, 100, "probing"),
        ({"source": Activity(bad_tags=65_535)}, 50, "probing"),
        ({"source": Activity(bad_tags=275), "device": Activity()}, 25, "probing"),
        ({"source": Activity(bad_tags=65_535), "reports": Reports(3, 0)}, 50, "reported"),
        ({"device": Activity(bad_tags=50), "reports": Reports(9, 2)}, 100, "confirmed"),
    ],
)
def test_reports(known: dict[str, object], score: int, code: str) -> None:
    found = reports(facts(**known), False)
    assert (found.score, found.code) == (score, code)
