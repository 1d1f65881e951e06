"""Moments out of messages."""

from datetime import UTC, datetime

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st
from voketag.anchor.v1 import anchor_pb2

from mesh.errors import ValidationFailed
from mesh.moments import moment, moment_in

FIRST, LAST = datetime(1, 1, 1), datetime(9999, 12, 31, 23, 59, 59, 999_999)  # noqa: DTZ001 hypothesis adds UTC


@given(st.datetimes(FIRST, LAST, timezones=st.just(UTC)))
def test_every_moment_comes_through(at: datetime) -> None:
    message = Timestamp()
    message.FromDatetime(at)
    assert moment("from_time", message) == at
    assert moment_in(anchor_pb2.ListAnchorsRequest(from_time=message), "from_time") == at


@pytest.mark.parametrize(
    "message",
    [
        Timestamp(seconds=1, nanos=-1),
        Timestamp(seconds=1, nanos=1_000_000_000),
        Timestamp(seconds=2**62),
        Timestamp(seconds=-(2**62)),
        Timestamp(seconds=253_402_300_800),
        Timestamp(seconds=-62_135_596_801),
    ],
    ids=str,
)
def test_what_is_no_moment_is_refused_by_name(message: Timestamp) -> None:
    with pytest.raises(ValidationFailed) as refused:
        moment_in(anchor_pb2.ListAnchorsRequest(to_time=message), "to_time", within="filter.")
    assert [violation.field for violation in refused.value.violations] == ["filter.to_time"]


def test_none_is_none() -> None:
    assert moment_in(anchor_pb2.ListAnchorsRequest(), "from_time") is None
