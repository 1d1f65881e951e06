"""Figures on a line of their own, with the bound that they are to keep."""

import statistics
from collections.abc import Sequence


def told(name: str, figure: str, bound: str = "") -> None:
    """Prints a figure, and its bound if it has one."""
    print(f"{name:<58}{figure:>16}{f'   bound {bound}' if bound else ''}", flush=True)


def p95(spent: Sequence[float]) -> float:
    """What 95 % of them are below."""
    return statistics.quantiles(spent, n=20)[18]
