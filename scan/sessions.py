"""The last sessions of a product: where and when its code was scanned, and the pattern that they make.

A session is what one device did with one code in one place: its scans there count once until the day's salt changes.
Valkey keeps the last 24 sessions of a product as one string, and this file says what they mean; everything that may
have to change with experience is here and in `scan.factors`, not in the function.
"""

import math
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

SESSIONS_KEPT = 24
SESSIONS_PER_SOURCE = 3
DAY = 86_400
WINDOW_SECONDS = 90 * DAY
COARSE_KM = 200
SLACK_KM = 600
FASTEST_KMH = 1_000

CELL_DEGREES = 1.40625
COLUMNS, ROWS = 256, 128
EARTH_KM = 6_371
LAYOUT = struct.Struct(">IIHHH")


class Place(NamedTuple):
    """Where a scan came from, as far as an address tells: a country, and a cell of a grid over the earth.

    `country` is ISO 3166-1 alpha-2. `cell` is 1 + row * 256 + column in steps of 1.40625 degrees from 90 S, 180 W
    (156 km at the equator), and 0 when only the country is known.
    """

    country: str
    cell: int


class Session(NamedTuple):
    """One session: its last scan in seconds since 1970, and 32 and 16 bits of the hashes of device and address prefix.

    The hashes are made under the day's salt, so that a device is another one tomorrow. No `place` when none was known.
    """

    at: int
    device: int
    source: int
    place: Place | None


@dataclass(frozen=True, slots=True)
class Pattern:
    """What the sessions of the last 90 days look like, the scan under way included; every count ends at 24.

    `devices` and `sources` (address prefixes) are distinct within a day. `places` are regions further apart than a cell
    and its neighbours, 0 when no place is known. `returns`: how often another device than the one before scanned in a
    region that the code had already left. `jumps`: how often two devices followed on each other faster than anything
    travels; of the last one the distance and the time. `hours` lie between the oldest of the sessions and now.
    """

    sessions: int = 0
    devices: int = 0
    sources: int = 0
    places: int = 0
    returns: int = 0
    jumps: int = 0
    jump_km: int = 0
    jump_minutes: int = 0
    hours: int = 0

    @property
    def callers(self) -> int:
        """Callers that are likely to be different people: new devices are free and new addresses are not dear."""
        return min(self.devices, self.sources)


NO_SESSIONS = Pattern()
NO_JUMPS = (0, 0, 0)


def place_at(country: str, latitude: float, longitude: float, accuracy_km: float) -> Place:
    """The place of a point in degrees; one that may be over 200 km off is known by its country alone."""
    if accuracy_km > COARSE_KM:
        return Place(country, 0)
    row = min(int((latitude + 90) / CELL_DEGREES), ROWS - 1)
    column = int((longitude + 180) / CELL_DEGREES) % COLUMNS
    return Place(country, 1 + row * COLUMNS + column)


def pack(sessions: Iterable[Session]) -> bytes:
    """Sessions as Valkey keeps them, oldest first: 14 bytes each.

    Big-endian: at u32, device u32, source u16, country u16 (two ASCII letters, 0 when there is no place), cell u16.
    """
    return b"".join(
        LAYOUT.pack(at, device, source, _country_code(place), place.cell if place else 0)
        for at, device, source, place in sessions
    )


def unpack(packed: bytes) -> list[Session]:
    """The reverse of `pack`. Raises ValueError when it is no whole number of sessions."""
    if len(packed) % LAYOUT.size:
        raise ValueError(f"{len(packed)} bytes are no whole number of sessions")
    return [
        Session(at, device, source, _place(country, cell) if country else None)
        for at, device, source, country, cell in LAYOUT.iter_unpack(packed)
    ]


def pattern(sessions: Sequence[Session], now: int) -> Pattern:
    """The pattern of a product's sessions, oldest first, at `now`."""
    since = now - WINDOW_SECONDS
    recent = [session for session in sessions if session.at > since]
    if not recent:
        return NO_SESSIONS
    times, devices, sources, places = zip(*recent, strict=True)
    known = set(places)
    regions, returns, jumps = 0, 0, NO_JUMPS
    if len(known) > 1:
        placed = [session for session in recent if session.place]
        regions, returns = _regions(placed)
        jumps = _jumps(placed)
    elif None not in known:
        regions = 1
    hours = (now - times[0]) // 3_600
    return Pattern(len(recent), len(set(devices)), len(set(sources)), regions, returns, *jumps, hours)


def _regions(placed: Sequence[Session]) -> tuple[int, int]:
    """How many regions there are, and how often one was seen again by another device after it was left.

    A country without a cell says nothing where sessions in a cell of that country are known.
    """
    finer = {place.country for _, _, _, place in placed if place and place.cell}
    centres: list[Place] = []
    regions: dict[Place, int] = {}
    returns, last_region, last_device = 0, -1, -1
    for _, device, _, place in placed:
        assert place is not None
        region = regions.get(place, -1)
        if region < 0:
            if not place.cell and place.country in finer:
                continue
            count = len(centres)
            region = regions[place] = _region(centres, place)
            if region == count:
                last_region, last_device = region, device
                continue
        if region != last_region and device != last_device:
            returns += 1
        last_region, last_device = region, device
    return len(centres), returns


def _region(centres: list[Place], place: Place) -> int:
    for index, centre in enumerate(centres):
        if near(centre, place):
            return index
    centres.append(place)
    return len(centres) - 1


def _jumps(placed: Sequence[Session]) -> tuple[int, int, int]:
    """How many pairs in a row no traveller could have made; of the last one the kilometres and the minutes."""
    count, last_km, last_minutes = NO_JUMPS
    before = placed[0] if placed else None
    for session in placed:
        assert before is not None
        if session.place != before.place and session.device != before.device:
            km, seconds = distance_km(before.place, session.place), session.at - before.at
            if (km - SLACK_KM) * 3_600 > FASTEST_KMH * seconds:
                count, last_km, last_minutes = count + 1, km, seconds // 60
        before = session
    return count, last_km, last_minutes


@lru_cache(maxsize=16_384)
def near(one: Place, other: Place) -> bool:
    """Whether two places may be one: the same or neighbouring cells, or the same country without cells."""
    if not one.cell or not other.cell:
        return one == other
    rows = abs((one.cell - 1) // COLUMNS - (other.cell - 1) // COLUMNS)
    columns = abs((one.cell - 1) % COLUMNS - (other.cell - 1) % COLUMNS)
    return rows <= 1 and min(columns, COLUMNS - columns) <= 1


@lru_cache(maxsize=16_384)
def distance_km(one: Place | None, other: Place | None) -> int:
    """Between the middles of two cells along a great circle (haversine); 0 when a cell is missing."""
    if one is None or other is None or not one.cell or not other.cell:
        return 0
    (phi, lam), (phi2, lam2) = _middle(one.cell), _middle(other.cell)
    half = math.sin((phi2 - phi) / 2) ** 2 + math.cos(phi) * math.cos(phi2) * math.sin((lam2 - lam) / 2) ** 2
    return round(2 * EARTH_KM * math.asin(math.sqrt(min(half, 1.0))))


def _middle(cell: int) -> tuple[float, float]:
    row, column = divmod(cell - 1, COLUMNS)
    return math.radians((row + 0.5) * CELL_DEGREES - 90), math.radians((column + 0.5) * CELL_DEGREES - 180)


def _country_code(place: Place | None) -> int:
    return int.from_bytes(place.country.encode("ascii"), "big") if place else 0


@lru_cache(maxsize=16_384)
def _place(country: int, cell: int) -> Place:
    return Place(country.to_bytes(2, "big").decode("ascii"), cell)
