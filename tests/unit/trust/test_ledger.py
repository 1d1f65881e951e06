from hashlib import sha256
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.trust.ledgers import ORIGIN, MemoryLedger, event, opening
from tests.unit.trust.vectors import load
from trust import merkle
from trust.ledger import (
    ENTRY_BYTES,
    NOT_SCORED,
    EntryMalformedError,
    Event,
    Opening,
    State,
    append,
    bundle,
    entry_bytes,
    entry_hash,
    genesis,
    read_entry,
    unbundle,
)
from trust.tiles import Tile, right_edge

PREVIOUS = sha256(b"previous").digest()
EVENTS = [event(number) for number in range(70_000)]

events = st.builds(
    Event,
    event_id=st.binary(min_size=16, max_size=16),
    product_id=st.binary(min_size=16, max_size=16),
    time_ms=st.integers(0, (1 << 64) - 1),
    verdict=st.integers(0, 255),
    risk_total=st.integers(0, 100) | st.just(NOT_SCORED),
    risk_version=st.integers(0, (1 << 32) - 1),
    personal=st.binary(min_size=32, max_size=32),
)


def chain(origin: str, size: int) -> list[bytes]:
    last, hashes = genesis(origin), list[bytes]()
    for each in EVENTS[:size]:
        last = entry_hash(last, each)
        hashes.append(last)
    return hashes


def test_published_entries() -> None:
    for vector in load("ledger")["entries"]:
        facts: dict[str, Any] = {
            name: bytes.fromhex(value) if isinstance(value, str) else value for name, value in vector["event"].items()
        }
        previous, data = bytes.fromhex(vector["previous"]), bytes.fromhex(vector["entry"])
        assert entry_bytes(previous, Event(**facts)) == data
        assert read_entry(data) == (previous, Event(**facts))
        assert entry_hash(previous, Event(**facts)) == sha256(b"\x00" + data).digest() == bytes.fromhex(vector["hash"])


def test_published_commitments_and_beginnings() -> None:
    for vector in load("ledger")["openings"]:
        made = Opening(bytes.fromhex(vector["blind"]), tuple(map(bytes.fromhex, vector["fields"])))
        assert made.commitment().hex() == vector["commitment"]
    for vector in load("ledger")["genesis"]:
        assert genesis(vector["origin"]).hex() == vector["previous"]


@given(events)
def test_an_entry_comes_back(each: Event) -> None:
    data = entry_bytes(PREVIOUS, each)
    assert len(data) == ENTRY_BYTES
    assert read_entry(data) == (PREVIOUS, each)
    assert entry_hash(PREVIOUS, each) == merkle.leaf_hash(data)


@given(events, events)
def test_two_events_never_share_an_entry(one: Event, other: Event) -> None:
    assert (entry_bytes(PREVIOUS, one) == entry_bytes(PREVIOUS, other)) is (one == other)


BAD: dict[str, Any] = {
    "event_id": bytes(15),
    "product_id": bytes(17),
    "time_ms": -1,
    "verdict": 256,
    "risk_total": 101,
    "risk_version": 1 << 32,
    "personal": b"",
}


@pytest.mark.parametrize("name", BAD)
def test_an_event_without_an_entry(name: str) -> None:
    bad = event(0)._replace(**{name: BAD[name]})
    for make in (entry_bytes, entry_hash):
        with pytest.raises(EntryMalformedError):
            make(PREVIOUS, bad)
    state = append(State.empty(ORIGIN), EVENTS[:3]).state
    with pytest.raises(EntryMalformedError):
        append(state, [EVENTS[3], bad])


def test_numbers_that_are_none() -> None:
    for bad in (event(0)._replace(risk_total=-1), event(0)._replace(time_ms=1.5)):  # type: ignore[arg-type]
        with pytest.raises(EntryMalformedError):
            entry_hash(PREVIOUS, bad)
        with pytest.raises(EntryMalformedError):
            append(State.empty(ORIGIN), [bad])
    with pytest.raises(EntryMalformedError):
        entry_bytes(PREVIOUS[1:], event(0))


ENTRY = entry_bytes(PREVIOUS, event(1))


@pytest.mark.parametrize("data", [b"", bytes(114), ENTRY[:-1], ENTRY + b"\0"])
def test_what_is_no_entry(data: bytes) -> None:
    with pytest.raises(EntryMalformedError):
        read_entry(data)


def test_an_entry_of_another_version_or_risk() -> None:
    data = bytearray(entry_bytes(PREVIOUS, event(1)))
    data[3] = 2
    with pytest.raises(EntryMalformedError):
        read_entry(bytes(data))
    data[3], data[77] = 1, 101
    with pytest.raises(EntryMalformedError, match="101 is not a risk"):
        read_entry(bytes(data))


@given(st.lists(st.integers(0, 700), max_size=6))
def test_groups_make_the_ledger_that_single_entries_make(groups: list[int]) -> None:
    made = MemoryLedger()
    for group in groups:
        made.grow(EVENTS[made.state.size : made.state.size + group])
    size = sum(groups)
    hashes = chain(ORIGIN, size)
    assert made.state.size == size
    assert made.state.last == (hashes[-1] if hashes else genesis(ORIGIN))
    assert made.state.root() == merkle.root(hashes)
    level = b"".join(made.tiles[0, number] for number in range(-(-size // 256)))
    assert level == b"".join(hashes)
    assert State.from_tiles(ORIGIN, size, lambda level, index: made.tiles[level, index]) == made.state


@pytest.mark.parametrize("size", [1, 255, 256, 257, 65_535, 65_536, 65_537, 65_793])
def test_a_state_is_found_again_in_the_tiles(size: int) -> None:
    made = MemoryLedger()
    made.grow(EVENTS[:65_800])
    before = State.from_tiles(ORIGIN, size, lambda level, index: made.tiles[level, index])
    appended = append(before, EVENTS[size:65_800])
    assert appended.state == made.state
    assert all(made.tiles[tile.level, tile.index] == tile.hashes for tile in appended.tiles)
    assert [(tile.level, tile.index, len(tile.hashes) // 32) for tile in before.tiles] == right_edge(size)


def test_only_tiles_that_changed_come_out() -> None:
    made = MemoryLedger()
    made.grow(EVENTS[:300])
    appended = append(made.state, EVENTS[300:301])
    assert [(tile.level, tile.index) for tile in appended.tiles] == [(0, 1)]
    assert append(made.state, []) == append(made.state, iter([]))
    assert append(made.state, []).tiles == ()
    assert append(made.state, []).state == made.state
    filled = append(made.state, EVENTS[300:513]).tiles
    assert [(tile.level, tile.index, len(tile.hashes)) for tile in filled] == [(0, 1, 8192), (0, 2, 32), (1, 0, 64)]


def test_a_state_that_is_none() -> None:
    with pytest.raises(ValueError, match="not the partial tiles"):
        append(State(2, PREVIOUS, (Tile(0, 0, PREVIOUS),)), EVENTS[:1])
    with pytest.raises(ValueError, match="fewer than 44 hashes"):
        State.from_tiles(ORIGIN, 300, lambda level, index: bytes(32))


def test_another_origin_is_another_ledger() -> None:
    one, other = (append(State.empty(origin), EVENTS[:5]).state.root() for origin in ("a", "b"))
    assert one != other


def test_an_opening_binds_every_field() -> None:
    made = opening(1)
    others = [
        Opening(bytes(16), made.fields),
        Opening(made.blind, made.fields[::-1]),
        Opening(made.blind, (*made.fields, b"")),
        Opening(made.blind, (made.fields[0] + made.fields[1], *made.fields[2:])),
        Opening(made.blind, ()),
    ]
    assert len({each.commitment() for each in [made, *others]}) == 6
    for bad in (Opening(bytes(15), ()), Opening(bytes(16), (bytes(65_536),))):
        with pytest.raises(EntryMalformedError):
            bad.commitment()


@given(st.lists(st.binary(max_size=300), max_size=5))
def test_a_bundle_comes_back(entries: list[bytes]) -> None:
    data = bundle(entries)
    assert unbundle(data) == entries
    for cut in range(1, min(len(data), 40)):
        try:
            assert bundle(unbundle(data[:-cut])) == data[:-cut]
        except EntryMalformedError:
            continue


@pytest.mark.parametrize("data", [b"\0", b"\0\1", b"\0\0\0"])
def test_a_cut_bundle(data: bytes) -> None:
    with pytest.raises(EntryMalformedError):
        unbundle(data)
