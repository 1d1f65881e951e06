"""Where a scan comes from: what the trusted edge says, else a database in MaxMind's format, else nothing."""

import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Protocol

import geoip2.database
import geoip2.errors
import maxminddb

from scan.sessions import Place, place_at

EDGE_HEADER = "x-client-place"
EDGE_PLACE = re.compile(r"([A-Z]{2})(?:,(-?\d{1,2}(?:\.\d{1,6})?),(-?\d{1,3}(?:\.\d{1,6})?))?")


class Geography(Protocol):
    """Finds places."""

    def place(self, address: str, metadata: Mapping[str, str]) -> Place | None:
        """Where the caller at an IP address seems to be; None when that is not known."""
        ...


class Nowhere:
    """Knows no place."""

    def place(self, address: str, metadata: Mapping[str, str]) -> Place | None:
        """None."""
        del address, metadata
        return None


class FromEdge:
    """Believes `x-client-place`, which the edge overwrites on every call: `BR`, or `BR,-23.55,-46.63` in degrees."""

    def place(self, address: str, metadata: Mapping[str, str]) -> Place | None:
        """See Geography; a header of another form says nothing."""
        del address
        return read_place(metadata.get(EDGE_HEADER, ""))


class FromDatabase:
    """Looks addresses up in a city database (MMDB). Raises ValueError when the file is none."""

    def __init__(self, path: Path) -> None:
        try:
            self._reader = geoip2.database.Reader(path)
        except (OSError, ValueError, maxminddb.InvalidDatabaseError) as error:
            raise ValueError(f"{path} is no database of places: {error}") from error
        self._found = lru_cache(maxsize=16_384)(self._look_up)

    def place(self, address: str, metadata: Mapping[str, str]) -> Place | None:
        """See Geography."""
        del metadata
        return self._found(address) if address else None

    def _look_up(self, address: str) -> Place | None:
        try:
            city = self._reader.city(address)
        except (geoip2.errors.AddressNotFoundError, ValueError):
            return None
        country, where = city.country.iso_code, city.location
        if country is None:
            return None
        if where.latitude is None or where.longitude is None:
            return Place(country, 0)
        # A radius of 0 is one that the database does not know.
        return place_at(country, where.latitude, where.longitude, float(where.accuracy_radius or 0))


@lru_cache(maxsize=16_384)
def read_place(text: str) -> Place | None:
    """Out of the edge's header; None when it says nothing that can be read."""
    found = EDGE_PLACE.fullmatch(text)
    if found is None:
        return None
    country, latitude, longitude = found.groups()
    if latitude is None:
        return Place(country, 0)
    if abs(float(latitude)) > 90 or abs(float(longitude)) > 180:
        return None
    return place_at(country, float(latitude), float(longitude), 0)
