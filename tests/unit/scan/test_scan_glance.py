"""A glance never tells anything that working a scan's risk out would not."""

from hypothesis import given
from hypothesis import strategies as st

from scan.counts import Circumstances, Counts, facts
from scan.factors import ProductState
from scan.glance import Glance
from scan.risk import Weights, assess
from scan.sessions import WINDOW_SECONDS, Place, Session, pack

NOW_SECONDS = 1_795_399_131
NOW = NOW_SECONDS * 1_000_000 + 437_000
PLACES = st.sampled_from([Place("BR", 12_127), Place("BR", 12_130), Place("BR", 0), Place("US", 20_000)])
SESSIONS = st.lists(
    st.builds(
        Session,
        at=st.sampled_from([NOW_SECONDS, NOW_SECONDS - 5, NOW_SECONDS - 90_000, NOW_SECONDS - WINDOW_SECONDS]),
        device=st.integers(0, 3),
        source=st.integers(0, 3),
        place=st.none() | PLACES,
    ),
    max_size=5,
)
KNOWN = st.builds(
    Circumstances,
    caller_known=st.booleans(),
    state=st.none() | st.sampled_from(ProductState),
    revoked=st.sampled_from([False, False, False, True]),
    market=st.sampled_from(["", "BR", "US"]),
    place=st.none() | PLACES,
    barred=st.sampled_from([False, False, False, True]),
    cleared=st.sampled_from([0, 0, 0, NOW_SECONDS - 10, NOW_SECONDS]),
)
WEIGHTS = st.builds(Weights, activates=st.booleans(), market=st.sampled_from([0, 45]), copies=st.sampled_from([0, 60]))


def near(limit: int) -> st.SearchStrategy[int]:
    """Mostly within what is quiet, and now and then just past it."""
    return st.sampled_from([0, 1, limit - 1, limit, limit, limit + 1])


@st.composite
def counted(draw: st.DrawFn) -> Counts:
    device, source = (
        [draw(near(limit)) for limit in (10, 50, 30, 5)],
        [draw(near(limit)) for limit in (100, 50, 300, 50)],
    )
    reports = draw(st.sampled_from([(0, 0), (0, 0), (0, 0), (1, 0), (0, 1)]))
    batch = draw(st.sampled_from([(0, 0, 0), (30, 20, 40)]))
    sessions = draw(SESSIONS)
    head = NOW, NOW - 9, draw(st.integers(1, 5)), len(sessions), *reports, *device, *source, *batch, 0
    return Counts._make((*head, pack(sessions), draw(st.sampled_from([True, True, True, False]))))


@given(KNOWN, counted(), WEIGHTS)
def test_what_a_glance_tells_is_what_would_be_found(known: Circumstances, counts: Counts, weights: Weights) -> None:
    told = Glance(weights).tell(known, counts)
    if told is None:
        return
    found = assess(facts(known, counts), weights)
    assert (told.total, told.level, told.leading, told.corroborations) == (
        *(found.total, found.level, found.leading),
        found.corroborations,
    )
    assert (told.risk_version, told.weights_version) == (found.risk_version, found.weights_version)
    assert [(f.name, f.score, f.weight) for f in told.factors] == [(f.name, f.score, f.weight) for f in found.factors]


@given(SESSIONS, WEIGHTS)
def test_an_ordinary_scan_is_told_at_a_glance(sessions: list[Session], weights: Weights) -> None:
    here = Session(NOW_SECONDS, 1, 1, Place("BR", 12_127))
    known = Circumstances(True, ProductState.SHIPPED, False, "BR", here.place)
    quiet = 1, 2, 0, 0
    packed = pack([here] * (len(sessions) % 3 + 1))
    counts = Counts._make((NOW, NOW - 9, 7, 1, 0, 0, *quiet, *quiet, 30, 0, 40, 0, packed, True))
    assert Glance(weights).tell(known, counts) is not None
