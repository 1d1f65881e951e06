"""The judgement on a scan, worked out again from its event: what the journal writes and what is replayed."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import orjson

from scan.counts import Circumstances, Counts, facts
from scan.event import NO_COUNTS, Judged
from scan.factors import FactorName
from scan.glance import Glance
from scan.risk import Weights, assess, facts_to_json
from scan.verdict import RAISED, Verdict

NUMBERS: Mapping[Verdict, int] = {
    Verdict.GENUINE_CODE: 1,
    Verdict.SUSPICIOUS: 2,
    Verdict.LIKELY_COPY: 3,
    Verdict.BLOCKED: 4,
    Verdict.UNKNOWN_CODE: 5,
}
"""Verdicts as the contract and the journal number them."""


PLACES: Mapping[FactorName | None, int] = {name: place for place, name in enumerate(FactorName, 1)}
"""Factors as the contract and the journal number them."""


NAMES = tuple(name.value for name in FactorName)


class Judging:
    """Judges as the process did that answered: the same facts, the same weights."""

    def __init__(self, weights: Weights) -> None:
        self._usual = Glance(weights)

    def __call__(self, said: bytes, counts: bytes, /) -> Judged:
        """See scan.event.Judge. A scan that was not counted has no risk; one of a factory with weights brings them."""
        event: dict[str, Any] = orjson.loads(said)
        found: dict[str, Any] = event["facts"]
        circumstances = Circumstances.from_dict(found)
        if counts == NO_COUNTS:
            verdict = Verdict.BLOCKED if found["blocked"] else Verdict.GENUINE_CODE
            return Judged(NUMBERS[verdict], None, b"[]", 0, "", orjson.dumps(found))
        counted = Counts.read(counts)
        known = facts(circumstances, counted)
        glance = _glance(event["weights"]) if "weights" in event else self._usual
        assessment = glance.tell(circumstances, counted) or assess(known, glance.weights)
        verdict = Verdict.BLOCKED if found["blocked"] else RAISED.get(assessment.level, Verdict.GENUINE_CODE)
        return Judged(
            verdict=NUMBERS[verdict],
            total=assessment.total,
            factors=_scores(tuple([factor.score for factor in assessment.factors])),
            risk_version=assessment.risk_version,
            weights_version=assessment.weights_version,
            facts=facts_to_json(known),
            leading_factor=PLACES.get(assessment.leading),
            scan_count=counted.scans,
        )


@lru_cache(maxsize=1_024)
def _glance(weights: str) -> Glance:
    return Glance(Weights.from_json(weights))


@lru_cache(maxsize=1_024)
def _scores(scores: tuple[int | None, ...]) -> bytes:
    """Of the factors, in the order of their names."""
    return orjson.dumps(dict(zip(NAMES, scores, strict=True)))
