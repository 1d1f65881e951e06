"""What proves that a tree was there at some time, apart from us."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from anchor.submission import Location
from anchor.target import AUTHORITY
from mesh.errors import TargetNotFound


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


@dataclass(frozen=True, slots=True)
class Place:
    """What we know of a tree at a target: chain id and contract, once they are settled, and where it stands."""

    target: str
    contract: tuple[int, str] | None
    location: Location | None


def place_at(places: Sequence[Place], target: str, location: Location | None) -> Place | None:
    """The place at a target, or, without a name, at `location`, or else the first that has a contract.

    `places` are in the order of the policy. Raises TargetNotFound when it has no chain of that name.
    """
    chains = [place for place in places if not AUTHORITY.fullmatch(place.target)]
    if target:
        for place in chains:
            if place.target == target:
                return place
        raise TargetNotFound(target=target)
    begun = [place for place in chains if place.contract]
    return next((place for place in begun if location and place.location == location), begun[0] if begun else None)
