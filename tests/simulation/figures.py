"""What comes of a trial, in figures: who was flagged, how soon, and at whose cost. Flagged is SUSPICIOUS or worse."""

from collections import Counter, defaultdict
from collections.abc import Callable
from random import Random
from typing import NamedTuple

from scan.risk import DEFAULT_WEIGHTS, Level, Weights
from scan.sessions import DAY
from tests.simulation.attacks import copied_label, seen_enough
from tests.simulation.honest import population
from tests.simulation.trial import Judged, Life, run, worst

START = 1_767_225_600


class Share(NamedTuple):
    """So many of so many."""

    some: int
    all: int

    @property
    def of_one(self) -> float:
        """Between 0 and 1; 0 of none."""
        return self.some / self.all if self.all else 0.0

    def __str__(self) -> str:
        return f"{100 * self.of_one:.2f} %"


class Recall(NamedTuple):
    """Copied labels flagged at the scan with which each was seen 20 times in 3 cities, and their scans from then on."""

    labels: Share
    scans: Share


def flagged(one: Judged) -> bool:
    """Whether a scan was answered with SUSPICIOUS or worse."""
    return one.assessment.level is not Level.ORDINARY


def levels(lives: list[Life], weights: Weights = DEFAULT_WEIGHTS) -> dict[str, Counter[Level]]:
    """By kind, how many lives came to each level at their worst."""
    found: dict[str, Counter[Level]] = defaultdict(Counter)
    for number, level in worst(run(lives, weights)).items():
        found[lives[number].kind][level] += 1
    return dict(found)


def flagged_lives(lives: list[Life]) -> Share:
    """How many lives were flagged at any scan."""
    found = worst(run(lives))
    return Share(sum(level is not Level.ORDINARY for level in found.values()), len(found))


def copies_among_honest(seed: int, count: int, *, days: int, honest: int = 2_000) -> Recall:
    """What is found of copied labels that are sold over some days, in batches with honest products."""
    random = Random(seed)
    lives = population(random, honest, start=START)
    batches = max(honest // 400, 1)
    for number in range(count):
        lives.append(copied_label(random, START + random.randrange(90 * DAY), days=days, batch=number % batches))
    judged: dict[int, list[Judged]] = defaultdict(list)
    for one in run(lives):
        if one.life >= honest:
            judged[one.life].append(one)
    labels, scans = [], []
    for number, answers in judged.items():
        index = seen_enough(lives[number].events)
        if index is not None:
            labels.append(flagged(answers[index]))
            scans += [flagged(answer) for answer in answers[index:]]
    return Recall(Share(sum(labels), len(labels)), Share(sum(scans), len(scans)))


def scans_flagged(lives: list[Life], which: Callable[[Judged], bool]) -> Share:
    """How many of the scans that are asked about were flagged."""
    answers = [flagged(one) for one in run(lives) if which(one)]
    return Share(sum(answers), len(answers))
