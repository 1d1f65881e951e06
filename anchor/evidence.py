"""What proves that a tree was there at some time, apart from us."""

from dataclasses import dataclass
from datetime import datetime

from anchor.submission import Location


@dataclass(frozen=True, slots=True)
class TimeStamp:
    """A time-stamp authority's answer, a TimeStampResp in DER, and the time (UTC) that is in it."""

    response: bytes
    time: datetime


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a target has of a tree: its place on a chain, or a time stamp over its root."""

    target: str
    proof: Location | TimeStamp
