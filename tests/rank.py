"""Whether two samples can be told apart, by the ranks of their values."""

from collections.abc import Sequence
from itertools import groupby


def likelihood(some: Sequence[float], others: Sequence[float]) -> float:
    """How likely one of `some` is larger than one of `others`, ties counted half: U / (m n) of Mann and Whitney (1947).

    0.5 when they cannot be told apart; of n and n that are alike it deviates by about 0.41 / sqrt(n).
    """
    ranked = sorted([(value, True) for value in some] + [(value, False) for value in others])
    above, below = 0.0, 0
    for _, tied in groupby(ranked, key=lambda each: each[0]):
        mine = [own for _, own in tied]
        above += sum(mine) * (below + mine.count(False) / 2)
        below += mine.count(False)
    return above / (len(some) * len(others))
