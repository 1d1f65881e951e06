"""Past scans judged anew under other weights: how verdicts and totals would have moved."""

from collections import Counter
from collections.abc import AsyncIterable
from dataclasses import dataclass, field
from typing import NamedTuple

from scan.judging import NUMBERS
from scan.risk import RiskError, Weights, assess, facts_from_json
from scan.verdict import RAISED, Verdict

NAMES = {number: verdict for verdict, number in NUMBERS.items()}
BAND = 10
"""Totals are counted in bands of ten: 0-9, 10-19, and so on to 100 alone."""


class Past(NamedTuple):
    """A scan as it is kept: its verdict's number, its total (None when none was worked out), and its facts as JSON."""

    verdict: int
    total: int | None
    facts: bytes


@dataclass(slots=True)
class Shift:
    """What replaying came to: counts alone, however many scans there were.

    `unscored` scans have no risk, for they were not counted; `unreadable` ones have facts of another kind than these.
    """

    scans: int = 0
    unscored: int = 0
    unreadable: int = 0
    moves: Counter[tuple[Verdict, Verdict]] = field(default_factory=Counter)
    before: Counter[int] = field(default_factory=Counter)
    after: Counter[int] = field(default_factory=Counter)
    raised: int = 0
    lowered: int = 0
    sum_before: int = 0
    sum_after: int = 0

    @property
    def judged(self) -> int:
        """How many scans were judged anew."""
        return self.scans - self.unscored - self.unreadable

    @property
    def moved(self) -> int:
        """How many got another verdict."""
        return sum(count for (before, after), count in self.moves.items() if before is not after)

    def add(self, past: Past, weights: Weights) -> None:
        """Judge one scan anew."""
        self.scans += 1
        if past.total is None:
            self.unscored += 1
            return
        try:
            assessment = assess(facts_from_json(past.facts), weights)
            before = NAMES[past.verdict]
        except (RiskError, KeyError):
            self.unreadable += 1
            return
        # What blocks a code is no matter of weights.
        blocked = before is Verdict.BLOCKED
        self.moves[before, before if blocked else RAISED.get(assessment.level, Verdict.GENUINE_CODE)] += 1
        self.before[past.total // BAND] += 1
        self.after[assessment.total // BAND] += 1
        self.raised += assessment.total > past.total
        self.lowered += assessment.total < past.total
        self.sum_before += past.total
        self.sum_after += assessment.total

    def verdicts(self, *, after: bool) -> Counter[Verdict]:
        """How many scans have each verdict, before or after."""
        found: Counter[Verdict] = Counter()
        for pair, count in self.moves.items():
            found[pair[after]] += count
        return found


async def replay(history: AsyncIterable[Past], weights: Weights) -> Shift:
    """Judge past scans anew, one at a time."""
    shift = Shift()
    async for past in history:
        shift.add(past, weights)
    return shift
