"""The seven factors of risk: what each looks at, and how much of a hundred it finds.

Every function is pure, uses whole numbers, and answers None for what it could not check. Docs: docs/risk.md.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from types import MappingProxyType
from typing import NamedTuple

from scan.sessions import SESSIONS_KEPT, Pattern, Place

USUAL_AT_MOST = 4
BATCH_AT_LEAST = 20
SHARED_BY = 10
FLOOD_HOURS, FLOOD_CALLERS = 24, 16
QUIET_MINUTE, QUIET_CHANGES, QUIET_BAD_TAGS = 10, 30, 5
"""What a hand does: scans in a minute, changes of the product in an hour, wrong codes in an hour."""


class ProductState(IntEnum):
    """The life of a product, as the view of product cards numbers it."""

    __hash__ = int.__hash__  # as below

    CREATED = 0
    ACTIVATED = 1
    SHIPPED = 2
    SOLD = 3
    CONSUMED = 4
    RECALLED = 5
    STOLEN = 6
    EXPIRED = 7
    DESTROYED = 8


WITHDRAWN = frozenset({ProductState.RECALLED, ProductState.STOLEN, ProductState.DESTROYED})


class FactorName(StrEnum):
    """The seven factors, in the order in which they are told."""

    __hash__ = str.__hash__  # an Enum's own takes ten times as long, and a scan needs several

    COPIES = "copies"
    DEVICES = "devices"
    TRAVEL = "travel"
    MARKET = "market"
    VELOCITY = "velocity"
    LIFECYCLE = "lifecycle"
    REPORTS = "reports"


@dataclass(frozen=True, slots=True)
class Activity:
    """What one device, or one address prefix, did: in this minute and hour of the clock, this scan included.

    `changes`: how often in the hour it scanned another product than just before, at least its distinct products less
    one. `bad_tags`: codes in the hour that were not ours.
    """

    minute: int = 0
    hour: int = 0
    changes: int = 0
    bad_tags: int = 0


@dataclass(frozen=True, slots=True)
class Batch:
    """The batch around the product: products scanned so far, those first scanned outside their market, sessions."""

    products: int = 0
    abroad: int = 0
    sessions: int = 0


@dataclass(frozen=True, slots=True)
class Reports:
    """Reports on the product: distinct people who reported it and were not answered yet; confirmed by staff."""

    open: int = 0
    confirmed: int = 0


@dataclass(frozen=True, slots=True)
class Facts:
    """All that is known of one scan; None, or '' for the market, is what is not known.

    `pattern` is of the sessions of the last 90 days, the one under way included; `sessions` counts all that the product
    ever had. `market` is where the product belongs, ISO 3166-1 alpha-2, and `place` where the scan came from. `barred`:
    our staff blocked the product; `cleared`: the second up to which they cleared it, whose sessions are left out of the
    pattern, 0 if they did not.
    """

    pattern: Pattern | None = None
    sessions: int = 0
    batch: Batch | None = None
    device: Activity | None = None
    source: Activity | None = None
    state: ProductState | None = None
    revoked: bool = False
    market: str = ""
    place: Place | None = None
    reports: Reports | None = None
    barred: bool = False
    cleared: int = 0


Evidence = tuple[tuple[str, int | str], ...]


class Finding(NamedTuple):
    """What a factor found: 0 to 100, None when it was not checked; the code of its message, and what that rests on."""

    score: int | None
    code: str
    evidence: Evidence = ()


NOT_CHECKED = Finding(None, "not_checked")


def ramp(value: int, low: int, high: int) -> int:
    """0 up to `low`, 100 from `high` on, even between."""
    return 0 if value <= low else 100 if value >= high else (value - low) * 100 // (high - low)


def copies(facts: Facts, _activates: bool) -> Finding:
    """Many callers, three regions, and back and forth between them: an item moves, copies are everywhere at once.

    A day in which a crowd scans one code is no item's ordinary day either, wherever it stands; it also is how somebody
    would make the sessions before it be forgotten.
    """
    pattern = facts.pattern
    if pattern is None:
        return NOT_CHECKED
    if pattern.sessions >= SESSIONS_KEPT and pattern.hours < FLOOD_HOURS and pattern.callers >= FLOOD_CALLERS:
        return Finding(100, "flood", (("sessions", pattern.sessions), ("hours", pattern.hours)))
    if not pattern.places:
        return NOT_CHECKED
    spread = min(pattern.places - 1, 2) * 50
    score = spread * ramp(pattern.callers, 8, 15) * ramp(pattern.returns, 1, 4) // 10_000
    evidence = (("sessions", pattern.sessions), ("places", pattern.places), ("returns", pattern.returns))
    return Finding(score, "spread" if score else "ordinary", evidence)


def devices(facts: Facts, _activates: bool) -> Finding:
    """More callers than other products of the batch have; three times the usual is still nothing."""
    pattern = facts.pattern
    if pattern is None:
        return NOT_CHECKED
    usual = _usual(facts)
    score = ramp(pattern.callers, 3 * usual, 3 * usual + 9)
    evidence = (("devices", pattern.devices), ("sources", pattern.sources), ("usual", usual))
    return Finding(score, "many" if score else "ordinary", evidence)


def travel(facts: Facts, _activates: bool) -> Finding:
    """Scans by different devices that follow on each other faster than anything travels."""
    pattern = facts.pattern
    if pattern is None or facts.place is None or not facts.place.cell:
        return NOT_CHECKED
    if not pattern.jumps:
        return Finding(0, "possible")
    evidence = (("jumps", pattern.jumps), ("km", pattern.jump_km), ("minutes", pattern.jump_minutes))
    return Finding(min(25 + 25 * pattern.jumps, 100), "impossible", evidence)


def market(facts: Facts, _activates: bool) -> Finding:
    """Outside the intended market; it weighs little for one item, and more the more of its batch turns up abroad."""
    if not facts.market or facts.place is None:
        return NOT_CHECKED
    country = facts.place.country
    if facts.market == country:
        return Finding(0, "inside", (("market", country), ("country", country)))
    batch = facts.batch
    share = batch.abroad * 100 // batch.products if batch and batch.products >= BATCH_AT_LEAST else 0
    diverted = ramp(share, 10, 40)
    evidence = (("market", facts.market), ("country", country), ("share", share))
    return Finding(30 + 70 * diverted // 100, "diverted" if diverted else "abroad", evidence)


def velocity(facts: Facts, _activates: bool) -> Finding:
    """A caller that scans faster than a hand does. An address prefix may be many people, and weighs half."""
    device, source = facts.device, facts.source
    if device is None and source is None:
        return NOT_CHECKED
    own = _pace(device, 1) if device else 0
    shared = _pace(source, SHARED_BY) // 2 if source else 0
    busiest = device if device and own >= shared else source
    assert busiest is not None
    evidence = (("minute", busiest.minute), ("hour", busiest.hour), ("changes", busiest.changes))
    return Finding(max(own, shared), "fast" if own or shared else "ordinary", evidence)


LIVES: Mapping[ProductState, Finding] = MappingProxyType(
    {state: Finding(0, "ordinary", (("state", state.name),)) for state in ProductState}
    | {state: Finding(100, "withdrawn", (("state", state.name),)) for state in WITHDRAWN}
    | {
        ProductState.CONSUMED: Finding(100, "consumed", (("state", "CONSUMED"),)),
        ProductState.EXPIRED: Finding(70, "expired", (("state", "EXPIRED"),)),
    }
)
REVOKED = Finding(100, "revoked")
BARRED = Finding(100, "blocked")
NOT_ACTIVATED = Finding(80, "not_activated", (("state", "CREATED"),))


def lifecycle(facts: Facts, activates: bool) -> Finding:
    """What the factory says of the product, and our staff; `activates`: it activates its products before they leave."""
    if facts.revoked:
        return REVOKED
    if facts.barred:
        return BARRED
    if facts.state is None:
        return NOT_CHECKED
    if facts.state is ProductState.CREATED and activates:
        return NOT_ACTIVATED
    return LIVES[facts.state]


def reports(facts: Facts, _activates: bool) -> Finding:
    """Reports on the product, and wrong codes tried by this caller: whichever says more."""
    found, device, source = facts.reports, facts.device, facts.source
    if found is None and device is None and source is None:
        return NOT_CHECKED
    reported = (100 if found.confirmed else min(20 * found.open, 50)) if found else 0
    own = ramp(device.bad_tags, QUIET_BAD_TAGS, 50) if device else 0
    shared = ramp(source.bad_tags, QUIET_BAD_TAGS * SHARED_BY, 50 * SHARED_BY) // 2 if source else 0
    if max(own, shared) > reported:
        busiest = device if device and own >= shared else source
        assert busiest is not None
        return Finding(max(own, shared), "probing", (("bad_tags", busiest.bad_tags),))
    if not reported or found is None:
        return Finding(0, "none")
    code = "confirmed" if found.confirmed else "reported"
    return Finding(reported, code, (("open", found.open), ("confirmed", found.confirmed)))


FACTORS: Mapping[FactorName, Callable[[Facts, bool], Finding]] = MappingProxyType(
    {
        FactorName.COPIES: copies,
        FactorName.DEVICES: devices,
        FactorName.TRAVEL: travel,
        FactorName.MARKET: market,
        FactorName.VELOCITY: velocity,
        FactorName.LIFECYCLE: lifecycle,
        FactorName.REPORTS: reports,
    }
)
"""Each takes the facts and whether the factory activates its products."""


def _usual(facts: Facts) -> int:
    """Sessions of the other products of the batch, one in the mean where too few of them are known."""
    batch = facts.batch
    if batch is None or batch.products <= BATCH_AT_LEAST:
        return 1
    others = max(batch.sessions - facts.sessions, 0)
    return min(max(-(-others // (batch.products - 1)), 1), USUAL_AT_MOST)


def _pace(activity: Activity, shared_by: int) -> int:
    by_minute = ramp(activity.minute, QUIET_MINUTE * shared_by, 40 * shared_by)
    return max(by_minute, ramp(activity.changes, QUIET_CHANGES * shared_by, 200 * shared_by))
