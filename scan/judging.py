"""The judgement on a scan, worked out again from its event: what the journal writes and what is replayed."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import orjson

from scan.counts import Circumstances, Counts, facts
from scan.event import NO_COUNTS, Judged
from scan.factors import FactorName
from scan.risk import Assessment, Weights, assess, facts_to_json
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


class Judging:
    """Judges as the process did that answered: the same facts, the same weights."""

    def __init__(self, weights: Weights) -> None:
        self._weights = weights

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
        assessment = assess(known, _weights(event["weights"]) if "weights" in event else self._weights)
        verdict = Verdict.BLOCKED if found["blocked"] else RAISED.get(assessment.level, Verdict.GENUINE_CODE)
        return Judged(
            verdict=NUMBERS[verdict],
            total=assessment.total,
            factors=_scores(assessment),
            risk_version=assessment.risk_version,
            weights_version=assessment.weights_version,
            facts=facts_to_json(known),
            leading_factor=PLACES.get(assessment.leading),
            scan_count=counted.scans,
        )


@lru_cache(maxsize=1_024)
def _weights(text: str) -> Weights:
    return Weights.from_json(text)


def _scores(assessment: Assessment) -> bytes:
    return orjson.dumps({factor.name.value: factor.score for factor in assessment.factors})
