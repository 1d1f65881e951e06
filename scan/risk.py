"""The risk of a scan: seven factors weighed into a number, and how far that number may carry a verdict.

Pure and deterministic: the same facts and weights give the same assessment, at any time, so that history can be judged
anew. A factor that was not checked adds nothing, and what is left is not stretched to fill its place.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, fields
from enum import Enum, StrEnum
from typing import Any, NamedTuple, Self

import orjson

from scan.factors import FACTORS, Activity, Batch, Evidence, FactorName, Facts, ProductState, Reports
from scan.sessions import Pattern, Place

RISK_VERSION = 1
"""Rises when the same facts and weights come to mean another assessment."""

HISTORY = frozenset({FactorName.COPIES, FactorName.DEVICES, FactorName.TRAVEL})


class RiskError(ValueError):
    """Weights or facts that cannot be read; the message names the field."""


class Level(StrEnum):
    """How far a scan's risk carries."""

    ORDINARY = "ordinary"
    SUSPICIOUS = "suspicious"
    LIKELY_COPY = "likely_copy"


class Corroboration(Enum):
    """What speaks of copies besides scans, each from somebody who is known to us: our staff, or the factory."""

    CONFIRMED_REPORT = "confirmed_report"
    CONSUMED = "consumed"
    NOT_ACTIVATED = "not_activated"


@dataclass(frozen=True, slots=True)
class Weights:
    """A tenant's weights, 0 to 100: the most that a factor can make of the total by itself.

    From `suspicious` on a scan is SUSPICIOUS, from `likely` on it may be LIKELY_COPY. `activates`: the factory
    activates its products before they leave. What corroborates a copy is no weight and cannot be set. Raises RiskError.
    """

    version: str = "default-1"
    copies: int = 60
    devices: int = 30
    travel: int = 25
    market: int = 45
    velocity: int = 25
    lifecycle: int = 60
    reports: int = 70
    suspicious: int = 40
    likely: int = 70
    activates: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.version, str) or not 1 <= len(self.version) <= 64:
            raise RiskError("version: 1 to 64 characters")
        for name in (*(factor.value for factor in FactorName), "suspicious", "likely"):
            value = getattr(self, name)
            if type(value) is not int or not 0 <= value <= 100:
                raise RiskError(f"{name}: a whole number from 0 to 100")
        if not 1 <= self.suspicious <= self.likely:
            raise RiskError("suspicious: at least 1, and not above likely")
        if type(self.activates) is not bool:
            raise RiskError("activates: true or false")

    @property
    def of_factors(self) -> tuple[int, ...]:
        """The seven weights in the order of `FactorName`."""
        return (
            *(self.copies, self.devices, self.travel, self.market),
            *(self.velocity, self.lifecycle, self.reports),
        )

    def to_json(self) -> str:
        """One JSON object of all fields."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """The reverse; a field that is missing has its default. Raises RiskError."""
        return cls(**_object(text, cls))


DEFAULT_WEIGHTS = Weights()


class Factor(NamedTuple):
    """One factor as it is told: `score` 0 to 100, None when it was not checked; `code` names its message."""

    name: FactorName
    score: int | None
    weight: int
    code: str
    evidence: Evidence


@dataclass(frozen=True, slots=True)
class Assessment:
    """A scan's risk, 0 to 100, and what it came from. `leading` is the factor that adds most, None if nothing does."""

    total: int
    level: Level
    factors: tuple[Factor, ...]
    leading: FactorName | None
    corroborations: frozenset[Corroboration]
    risk_version: int
    weights_version: str


def assess(facts: Facts, weights: Weights = DEFAULT_WEIGHTS) -> Assessment:
    """The risk of a scan.

    Each factor takes its part, score times weight, of what those before it left of a hundred: the total never falls
    when a score rises, and no factor alone passes its weight. Whole numbers throughout, a half rounded up.
    """
    factors = []
    left, whole, most, leading = 1, 1, 0, None
    for (name, examine), weight in zip(FACTORS.items(), weights.of_factors, strict=True):
        score, code, evidence = examine(facts, weights.activates)
        factors.append(Factor(name, score, weight, code, evidence))
        if score:
            part = score * weight
            left, whole = left * (10_000 - part), whole * 10_000
            if part > most:
                most, leading = part, name
    total = (200 * (whole - left) + whole) // (2 * whole)
    corroborations = corroborated(facts, weights)
    return Assessment(
        total=total,
        level=_level(total, weights, likely=bool(corroborations)),
        factors=tuple(factors),
        leading=leading,
        corroborations=corroborations,
        risk_version=RISK_VERSION,
        weights_version=weights.version,
    )


def corroborated(facts: Facts, weights: Weights) -> frozenset[Corroboration]:
    """What besides scans says that a code which is shown around is a copy.

    Scans cost whoever makes them next to nothing, wherever they seem to come from; reports by strangers are no better.
    """
    found = set()
    if facts.reports is not None and facts.reports.confirmed:
        found.add(Corroboration.CONFIRMED_REPORT)
    if facts.state is ProductState.CONSUMED:
        found.add(Corroboration.CONSUMED)
    if facts.state is ProductState.CREATED and weights.activates:
        found.add(Corroboration.NOT_ACTIVATED)
    return frozenset(found) if found else UNCORROBORATED


UNCORROBORATED: frozenset[Corroboration] = frozenset()


def _level(total: int, weights: Weights, *, likely: bool) -> Level:
    if total < weights.suspicious:
        return Level.ORDINARY
    return Level.LIKELY_COPY if likely and total >= weights.likely else Level.SUSPICIOUS


def replay(history: Iterable[Facts], weights: Weights) -> Iterator[Assessment]:
    """What the facts of past scans come to under other weights, one for one and in their order."""
    return (assess(facts, weights) for facts in history)


def facts_to_json(facts: Facts) -> bytes:
    """Facts as they are kept with a scan: one JSON object, without what is at its default, nor zeros in its parts."""
    kept: dict[str, Any] = {}
    for name, default, counts in _KEPT:
        value = getattr(facts, name)
        if value and counts:
            kept[name] = {count: number for count in counts if (number := getattr(value, count))}
        elif value or value != default:
            kept[name] = value
    if facts.place is not None:
        kept["place"] = list(facts.place)
    return orjson.dumps(kept, option=orjson.OPT_SORT_KEYS)


def facts_from_json(text: str | bytes) -> Facts:
    """The reverse. Raises RiskError."""
    found = _object(text, Facts)
    try:
        for key, kind in _PARTS.items():
            if found.get(key) is not None:
                found[key] = kind(**found[key])
        if found.get("place") is not None:
            found["place"] = Place(*found["place"])
        if found.get("state") is not None:
            found["state"] = ProductState(found["state"])
        return Facts(**found)
    except (TypeError, ValueError) as error:
        raise RiskError(f"facts: {error}") from error


_PARTS: dict[str, type[Any]] = {
    "pattern": Pattern,
    "batch": Batch,
    "device": Activity,
    "source": Activity,
    "reports": Reports,
}
_KEPT = tuple(
    (fact.name, fact.default, tuple(count.name for count in fields(_PARTS[fact.name])) if fact.name in _PARTS else ())
    for fact in fields(Facts)
)
"""Each fact with its default, which is false as a condition, and the numbers in it."""


def _object(text: str | bytes, kind: type[Any]) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError as error:
        raise RiskError(f"not JSON: {error}") from error
    if not isinstance(found, dict):
        raise RiskError("not a JSON object")
    unknown = found.keys() - {field.name for field in fields(kind)}
    if unknown:
        raise RiskError(f"unknown: {', '.join(sorted(unknown))}")
    return found
