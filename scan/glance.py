"""The ordinary scan, told at a glance: nearly every scan finds nothing, and that can be seen without working it out.

Where a glance tells, `scan.risk.assess` would have found the same: no factor above 0, and the same ones unchecked. A
property test holds the two against each other.
"""

import struct

from scan.counts import MICROSECONDS, Circumstances, Counts
from scan.factors import LIVES, QUIET_BAD_TAGS, QUIET_CHANGES, QUIET_MINUTE, SHARED_BY, FactorName, ProductState
from scan.risk import RISK_VERSION, UNCORROBORATED, Assessment, Factor, Level, Weights
from scan.sessions import LAYOUT, WINDOW_SECONDS

FEW_SESSIONS = 3
"""With so few there cannot be more callers than a product usually has."""
LIVELY = frozenset(state for state, finding in LIVES.items() if finding.score)
_PLACE_AT, _PLACE_BYTES = LAYOUT.size - 4, 4
_NO_COUNTRY = bytes(2)
_SECOND = struct.Struct(">I")
_COPIES, _DEVICES, _TRAVEL, _MARKET, _, _LIFECYCLE, _ = (1 << place for place in range(len(FactorName)))


class Glance:
    """Tells ordinary scans under a tenant's weights."""

    def __init__(self, weights: Weights) -> None:
        self.weights = weights
        self._nothing: dict[int, Assessment] = {}

    def tell(self, known: Circumstances, counts: Counts) -> Assessment | None:
        """The assessment of a scan in which nothing is found, without the evidence for it; None: it is not so sure."""
        if self._stirring(known, counts):
            return None
        unchecked = self._unchecked(known)
        if known.caller_known:
            sessions = counts.sessions
            if not _one_place(sessions, counts.now):
                return None
            if sessions[_PLACE_AT : _PLACE_AT + 2] == _NO_COUNTRY:
                unchecked |= _COPIES
        found = self._nothing.get(unchecked)
        if found is None:
            found = self._nothing[unchecked] = _nothing_found(self.weights, unchecked)
        return found

    def _stirring(self, known: Circumstances, counts: Counts) -> bool:
        """Whether anything but the sessions may be found to speak against the scan."""
        state, place = known.state, known.place
        return bool(
            not counts.during_scan
            or counts.reports_open
            or counts.reports_confirmed
            or counts.device_minute > QUIET_MINUTE
            or counts.device_changes > QUIET_CHANGES
            or counts.device_bad_tags > QUIET_BAD_TAGS
            or counts.source_minute > QUIET_MINUTE * SHARED_BY
            or counts.source_changes > QUIET_CHANGES * SHARED_BY
            or counts.source_bad_tags > QUIET_BAD_TAGS * SHARED_BY
            or known.revoked
            or known.barred
            or known.cleared
            or state in LIVELY
            or (state is ProductState.CREATED and self.weights.activates)
            or (place is not None and known.market and known.market != place.country)
        )

    def _unchecked(self, known: Circumstances) -> int:
        place = known.place
        unchecked = 0 if known.caller_known else _COPIES | _DEVICES | _TRAVEL
        if place is None or not place.cell:
            unchecked |= _TRAVEL
        if place is None or not known.market:
            unchecked |= _MARKET
        if known.state is None:
            unchecked |= _LIFECYCLE
        return unchecked


def _one_place(sessions: bytes, now: int) -> bool:
    """Whether there are few sessions, the last of them not long ago, and all in one place."""
    size = len(sessions)
    if not 0 < size <= FEW_SESSIONS * LAYOUT.size or size % LAYOUT.size:
        return False
    if _SECOND.unpack_from(sessions, size - LAYOUT.size)[0] <= now // MICROSECONDS - WINDOW_SECONDS:
        return False
    place = sessions[_PLACE_AT : LAYOUT.size]
    return size == LAYOUT.size or all(
        sessions[start + _PLACE_AT : start + LAYOUT.size] == place for start in range(LAYOUT.size, size, LAYOUT.size)
    )


def _nothing_found(weights: Weights, unchecked: int) -> Assessment:
    factors = []
    for place, (name, weight) in enumerate(zip(FactorName, weights.of_factors, strict=True)):
        checked = not unchecked >> place & 1
        factors.append(Factor(name, 0 if checked else None, weight, "ordinary" if checked else "not_checked", ()))
    return Assessment(
        total=0,
        level=Level.ORDINARY,
        factors=tuple(factors),
        leading=None,
        corroborations=UNCORROBORATED,
        risk_version=RISK_VERSION,
        weights_version=weights.version,
    )
