"""What the risk engine finds of each attack, what that costs the honest, and the time of a scan.

Run from the repository: python bench/risk.py [honest products, 20000]
Precision is given for one attacked code to a hundred honest ones, each judged by the worst that was said of it.
"""

import statistics
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from random import Random
from time import process_time_ns

sys.path.insert(0, str(Path(__file__).parents[1]))

from scan.factors import Activity, Batch, Facts, ProductState, Reports
from scan.risk import Level, assess
from scan.sessions import DAY, SESSIONS_KEPT, Session, pack, pattern, place_at, unpack
from tests.simulation import attacks, honest
from tests.simulation.figures import START, Share, copies_among_honest, levels, scans_flagged
from tests.simulation.trial import Life

SEED, ATTACKED, BATCHES = 2026, 200, 50
EFFORTS = ("phone", "script", "network")


def attacked(random: Random, make: Callable[[int], Life]) -> list[Life]:
    """Attacked codes in batches of honest ones."""
    return [*honest.population(random, 2_000, start=START), *(make(number % 5) for number in range(ATTACKED))]


def confirmed(life: Life) -> Life:
    return replace(life, kind=f"{life.kind}, report confirmed", reports=Reports(1, 1))


def consumed(life: Life) -> Life:
    return replace(life, kind=f"{life.kind}, consumed", state=ProductState.CONSUMED)


def scenarios(random: Random) -> list[list[Life]]:
    def copied(batch: int) -> Life:
        return attacks.copied_label(random, START + random.randrange(90 * DAY), days=30, batch=batch)

    def alarm(effort: str) -> Callable[[int], Life]:
        return lambda batch: attacks.false_alarm(random, START + 30 * DAY, effort, batch=batch)

    return [
        attacked(random, copied),
        attacked(random, lambda batch: confirmed(copied(batch))),
        attacked(random, lambda batch: consumed(copied(batch))),
        attacked(random, lambda batch: attacks.printed_everywhere(random, START, batch=batch)),
        [life for batch in range(5) for life in attacks.shipment(random, START, 200, batch=batch)],
        *(attacked(random, alarm(effort)) for effort in EFFORTS),
    ]


def print_levels(count: int) -> None:
    random = Random(SEED)
    population = levels(honest.population(random, count, start=START))
    cost = Share(sum(n for kind in population.values() for at, n in kind.items() if at is not Level.ORDINARY), count)
    head = f"{'':34}{'codes':>7}{'ordinary':>10}{'suspicious':>12}{'likely copy':>13}{'flagged':>10}{'precision':>11}"
    print(head)
    for kind, found in sorted(population.items(), key=lambda item: -item[1].total()):
        print(row(f"honest: {kind}", [found[level] for level in Level]))
    print(row("honest, all", [sum(found[level] for found in population.values()) for level in Level]))
    for lives in scenarios(random):
        for kind, found in levels(lives).items():
            if kind not in honest.SHARES:
                genuine = kind == "not diverted" or kind.startswith("false alarm")
                print(row(kind, [found[level] for level in Level], None if genuine else cost))


def row(name: str, counts: list[int], cost: Share | None = None) -> str:
    flagged, total = sum(counts[1:]), sum(counts)
    line = f"{name:34}{total:7}{counts[0]:10}{counts[1]:12}{counts[2]:13}{100 * flagged / total:8.2f} %"
    if cost is None or not flagged:
        return line
    recall = flagged / total
    return line + f"{100 * recall / (recall + 100 * cost.of_one):9.1f} %"


def print_copies() -> None:
    print("\nCopied labels, seen 20 times in 3 cities; found at that scan, and of the scans from then on:")
    for days in (3, 14, 30, 60, 90, 180, 365):
        recall = copies_among_honest(SEED + days, ATTACKED, days=days)
        print(f"  sold over {days:3} days: {recall.labels!s:>9} of {recall.labels.all}, {recall.scans!s:>9} of scans")


def print_bystanders() -> None:
    random = Random(SEED)
    probed = [
        life
        for number in range(BATCHES)
        for life in attacks.probing(random, START + number * DAY, 20, batch=number % 5)
    ]
    theirs = scans_flagged(probed, lambda one: one.event.hostile)
    others = scans_flagged(probed, lambda one: not one.event.hostile)
    print(f"\nProbing: flagged of the prober's own scans {theirs}, of others' scans of the same codes {others}")
    for effort in EFFORTS:
        lives = [attacks.false_alarm(random, START, effort, batch=number) for number in range(50)]
        owners = scans_flagged(lives, lambda one: not one.event.hostile)
        print(f"False alarm, {effort}: flagged of the owners' scans {owners}")


def microseconds(operation: Callable[[], object]) -> float:
    samples = []
    for _ in range(9):
        started = process_time_ns()
        for _ in range(2_000):
            operation()
        samples.append((process_time_ns() - started) / 2_000_000)
    return statistics.median(samples)


def print_times() -> None:
    random = Random(SEED)
    places = [place_at("BR", -30 + 3 * step, -60 + 2 * step, 20) for step in range(8)]
    print("\nCPU a scan, from Valkey's bytes to the assessment:")
    for count in (1, 3, 8, SESSIONS_KEPT):
        packed = pack(
            Session(START + 3_000 * step, random.getrandbits(32), random.getrandbits(16), random.choice(places))
            for step in range(count)
        )

        def scan(packed: bytes = packed) -> None:
            found = pattern(unpack(packed), START + DAY)
            assess(
                Facts(
                    pattern=found, sessions=9, batch=Batch(100, 3, 200), device=Activity(1, 1), source=Activity(2, 9),
                    state=ProductState.SOLD, market="BR", place=places[0], reports=Reports(0, 0),
                )
            )  # fmt: skip

        print(f"  {count:2} sessions: {microseconds(scan):5.1f} µs")


def main() -> None:
    print_levels(int(sys.argv[1]) if len(sys.argv) > 1 else 20_000)
    print_copies()
    print_bystanders()
    print_times()


if __name__ == "__main__":
    main()
