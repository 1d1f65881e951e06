"""Sessions: their bytes, the grid of places, and the pattern that they make."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scan.sessions import (
    DAY,
    WINDOW_SECONDS,
    Pattern,
    Place,
    Session,
    distance_km,
    near,
    pack,
    pattern,
    place_at,
    unpack,
)

NOW = 1_767_225_600
SAO_PAULO, RIO = place_at("BR", -23.55, -46.63, 20), place_at("BR", -22.91, -43.17, 20)
MANAUS, BERLIN = place_at("BR", -3.12, -60.02, 20), place_at("DE", 52.52, 13.41, 20)
BRAZIL = Place("BR", 0)

PLACES = st.one_of(
    st.none(),
    st.sampled_from([SAO_PAULO, RIO, MANAUS, BERLIN, BRAZIL, Place("DE", 0), Place("UY", 1), Place("UY", 32_768)]),
)
SESSIONS = st.lists(
    st.builds(
        Session,
        at=st.integers(NOW - 100 * DAY, NOW),
        device=st.integers(0, 2**32 - 1),
        source=st.integers(0, 2**16 - 1),
        place=PLACES,
    ),
    max_size=24,
).map(lambda sessions: sorted(sessions, key=lambda session: session.at))


def by(device: int, place: Place | None, hours_ago: float = 0) -> Session:
    return Session(NOW - int(hours_ago * 3_600), device, device, place)


@given(SESSIONS)
def test_bytes_come_back(sessions: list[Session]) -> None:
    assert unpack(pack(sessions)) == sessions
    assert len(pack(sessions)) == 14 * len(sessions)


def test_bytes_are_these() -> None:
    """The function in Valkey writes them too."""
    assert pack([Session(1, 2, 3, Place("BR", 4))]).hex() == "0000000100000002000342520004"
    assert pack([Session(2**32 - 1, 0, 65_535, None)]).hex() == "ffffffff00000000ffff00000000"


@pytest.mark.parametrize("packed", [b"x", bytes(13), bytes(15)])
def test_broken_bytes(packed: bytes) -> None:
    with pytest.raises(ValueError, match="no whole number of sessions"):
        unpack(packed)


@given(st.floats(-90, 90), st.floats(-180, 180))
def test_every_point_is_in_a_cell_of_16_bits(latitude: float, longitude: float) -> None:
    place = place_at("XX", latitude, longitude, 20)
    assert 1 <= place.cell <= 32_768
    assert distance_km(place, place) == 0
    assert near(place, place)


def test_corners_of_the_grid() -> None:
    corners = [(-90, -180), (-90, 179.9), (90, -180), (90, 180)]
    cells = [place_at("XX", latitude, longitude, 0).cell for latitude, longitude in corners]
    assert cells == [1, 256, 127 * 256 + 1, 127 * 256 + 1]


def test_an_imprecise_address_is_known_by_its_country() -> None:
    assert place_at("BR", -23.55, -46.63, 200).cell
    assert place_at("BR", -23.55, -46.63, 201) == BRAZIL


def test_distances() -> None:
    assert 200 < distance_km(SAO_PAULO, RIO) < 500
    assert 9_900 < distance_km(SAO_PAULO, BERLIN) < 10_500
    assert distance_km(SAO_PAULO, BRAZIL) == distance_km(None, RIO) == 0
    assert distance_km(Place("XX", 1), Place("XX", 32_768)) == pytest.approx(20_015, abs=200), "from pole to pole"


def test_near() -> None:
    campinas, date_line = place_at("BR", -22.91, -47.06, 20), (Place("FJ", 256 * 50 + 1), Place("FJ", 256 * 51))
    assert near(SAO_PAULO, campinas)
    assert near(*date_line), "the grid closes"
    assert not near(SAO_PAULO, RIO)
    assert near(BRAZIL, BRAZIL)
    assert not near(BRAZIL, SAO_PAULO)
    assert not near(BRAZIL, Place("DE", 0))


def test_one_scan() -> None:
    assert pattern([by(1, SAO_PAULO)], NOW) == Pattern(sessions=1, devices=1, sources=1, places=1)
    assert pattern([by(1, None, 5.5)], NOW) == Pattern(sessions=1, devices=1, sources=1, hours=5)
    assert pattern([by(1, None)], NOW) == Pattern(sessions=1, devices=1, sources=1)
    assert pattern([], NOW) == Pattern()


def test_an_item_that_moves_on_returns_nowhere() -> None:
    found = pattern([by(1, MANAUS, 900), by(2, RIO, 600), by(3, RIO, 500), by(4, SAO_PAULO)], NOW)
    assert (found.places, found.returns, found.jumps) == (3, 0, 0)


def test_copies_are_here_and_there() -> None:
    found = pattern([by(number, (MANAUS, RIO, SAO_PAULO)[number % 3], 240 - number * 20) for number in range(9)], NOW)
    assert (found.sessions, found.callers, found.places, found.returns) == (9, 9, 3, 6)


def test_one_phone_that_seems_to_be_everywhere_is_one_caller() -> None:
    tour = [Session(NOW - 60 * (9 - step), 7, step, (MANAUS, BERLIN, RIO)[step % 3]) for step in range(9)]
    found = pattern(tour, NOW)
    assert (found.callers, found.returns, found.jumps) == (1, 0, 0)


def test_nothing_travels_that_fast() -> None:
    found = pattern([by(1, SAO_PAULO, 5), by(2, BERLIN)], NOW)
    assert (found.jumps, found.jump_minutes) == (1, 300)
    assert found.jump_km > 9_900
    assert pattern([by(1, SAO_PAULO, 11), by(2, BERLIN)], NOW).jumps == 0
    assert pattern([by(1, SAO_PAULO, 0), by(2, RIO)], NOW).jumps == 0, "addresses are some hundred kilometres off"


def test_a_country_without_a_cell_adds_nothing_to_cells_in_it() -> None:
    mixed = [by(1, BRAZIL, 50), by(2, MANAUS, 40), by(3, BRAZIL, 30), by(4, RIO, 20), by(5, Place("DE", 0))]
    assert pattern(mixed, NOW).places == 3
    assert pattern([by(1, BRAZIL, 2), by(2, BRAZIL)], NOW).places == 1


def test_what_is_older_than_the_window_is_forgotten() -> None:
    old, recent = Session(NOW - WINDOW_SECONDS, 1, 1, RIO), Session(NOW - WINDOW_SECONDS + 1, 2, 2, RIO)
    assert pattern([old], NOW) == Pattern()
    assert pattern([old, recent], NOW).sessions == 1


@given(SESSIONS)
def test_counts_hold_together(sessions: list[Session]) -> None:
    found = pattern(sessions, NOW)
    assert found == pattern(list(sessions), NOW)
    assert max(found.devices, found.sources) <= found.sessions <= len(sessions)
    assert found.places + found.returns + (found.jumps > 0) <= max(found.sessions + 1, 1)
    assert found.jumps < max(found.sessions, 1)


@given(SESSIONS, st.builds(by, st.integers(0, 2**32 - 1).map(lambda n: n & 0xFFFF), PLACES))
def test_another_session_takes_nothing_away(sessions: list[Session], another: Session) -> None:
    before, after = pattern(sessions, NOW), pattern([*sessions, another], NOW)
    for name in ("sessions", "devices", "sources", "callers", "jumps"):
        assert getattr(after, name) >= getattr(before, name)
    if another.place is None or another.place.cell:
        finer = {s.place.country for s in sessions if s.place and s.place.cell and s.at > NOW - WINDOW_SECONDS}
        if another.place is None or another.place.country in finer:
            assert after.places >= before.places
            assert after.returns >= before.returns
