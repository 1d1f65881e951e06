"""Notices: certain only while they are followed without a gap."""

import pytest

from scan.changes import NOTICES, Changes
from tests.fakes.clock import HandClock

PRODUCT, BATCH = b"p" * 16, b"b" * 16


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def changes(clock: HandClock) -> Changes:
    changes = Changes(clock, lease_seconds=1.5, kept_seconds=60)
    changes.begin()
    changes.followed(clock.seconds)
    return changes


def test_nothing_is_certain_before_the_first_heartbeat(clock: HandClock) -> None:
    changes = Changes(clock)
    assert not changes.none_since(clock.seconds, PRODUCT, BATCH)
    changes.begin()
    assert not changes.none_since(clock.seconds, PRODUCT, BATCH)


def test_a_read_from_before_the_beginning_is_not_certain(clock: HandClock, changes: Changes) -> None:
    assert changes.none_since(clock.seconds, PRODUCT, BATCH)
    assert not changes.none_since(clock.seconds - 0.1, PRODUCT, BATCH)


def test_silence_ends_certainty_and_a_heartbeat_brings_it_back(clock: HandClock, changes: Changes) -> None:
    read_at = clock.seconds
    clock.seconds += 1.5
    assert not changes.none_since(read_at, PRODUCT, BATCH)
    changes.followed(clock.seconds)
    assert changes.none_since(read_at, PRODUCT, BATCH)
    changes.lost()
    assert not changes.none_since(read_at, PRODUCT, BATCH)


@pytest.mark.parametrize("changed", [PRODUCT, BATCH])
def test_a_notice_outdates_earlier_reads_alone(clock: HandClock, changes: Changes, changed: bytes) -> None:
    read_at = clock.seconds
    clock.seconds += 0.1
    changes.notice(changed)
    assert not changes.none_since(read_at, PRODUCT, BATCH)
    assert not changes.none_since(clock.seconds, PRODUCT, BATCH), "at the same instant is not after"
    assert changes.none_since(clock.seconds + 0.01, PRODUCT, BATCH)
    assert changes.none_since(read_at, b"q" * 16, b"c" * 16)


def test_a_flood_of_notices_is_a_new_beginning(clock: HandClock, changes: Changes) -> None:
    read_at = clock.seconds
    clock.seconds += 0.1
    for number in range(NOTICES + 1):
        changes.notice(number.to_bytes(16))
    assert not changes.none_since(read_at, PRODUCT, BATCH)
    assert changes.none_since(clock.seconds, PRODUCT, BATCH)
