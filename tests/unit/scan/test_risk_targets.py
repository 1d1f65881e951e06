"""What risk has to find and must not do, on lives from fixed seeds. Figures of larger runs: docs/risk.md."""

from dataclasses import replace
from random import Random

import pytest

from scan.factors import ProductState, Reports
from scan.risk import Level
from scan.sessions import DAY
from tests.simulation import attacks, honest
from tests.simulation.figures import START, copies_among_honest, flagged_lives, levels, scans_flagged
from tests.simulation.trial import run, worst

MOST_HONEST, LEAST_COPIES = 0.005, 0.95


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_honest_are_left_alone(seed: int) -> None:
    found = flagged_lives(honest.population(Random(seed), 6_000, start=START))
    assert found.all == 6_000
    assert found.of_one <= MOST_HONEST


@pytest.mark.parametrize("kind", ["owner", "family", "shop", "reseller", "traveller"])
def test_no_ordinary_kind_of_life_carries_the_cost_alone(kind: str) -> None:
    random = Random(kind)
    lives = [
        honest.life(random, kind, START + random.randrange(90 * DAY), batch=number // 400) for number in range(800)
    ]
    assert flagged_lives(lives).of_one <= 0.01


@pytest.mark.parametrize("days", [3, 14, 30, 60, 90])
def test_a_label_seen_twenty_times_in_three_places_is_found(days: int) -> None:
    recall = copies_among_honest(days, 150, days=days, honest=1_200)
    assert recall.labels.all == 150
    assert recall.labels.of_one >= LEAST_COPIES
    assert recall.scans.of_one >= LEAST_COPIES


def test_a_label_everywhere_is_found() -> None:
    random = Random(5)
    found = levels([attacks.printed_everywhere(random, START, batch=number) for number in range(30)])
    assert found == {"one label everywhere": {Level.SUSPICIOUS: 30}}


@pytest.mark.parametrize("effort", ["phone", "script", "network"])
def test_a_false_alarm_stays_below_a_copy(effort: str) -> None:
    random = Random(effort)
    lives = [attacks.false_alarm(random, START, effort, batch=number // 10) for number in range(30)]
    assert Level.LIKELY_COPY not in worst(run(lives)).values()


def test_one_phone_discredits_nothing() -> None:
    random = Random(6)
    lives = [attacks.false_alarm(random, START, "phone", batch=number) for number in range(60)]
    assert flagged_lives(lives).of_one <= 0.05


@pytest.mark.parametrize("known", [{"reports": Reports(1, 1)}, {"state": ProductState.CONSUMED}])
def test_a_copy_that_somebody_vouches_for_is_called_one(known: dict[str, object]) -> None:
    random = Random(7)
    lives = [replace(attacks.copied_label(random, START, days=30, batch=n), **known) for n in range(40)]  # type: ignore[arg-type]
    assert levels(lives) == {"copied label": {Level.LIKELY_COPY: 40}}


def test_a_shipment_that_went_astray_is_told_from_the_rest() -> None:
    random = Random(8)
    found = levels([life for batch in range(3) for life in attacks.shipment(random, START, 200, batch=batch)])
    assert found["diverted"][Level.SUSPICIOUS] >= 0.9 * 300
    assert found["not diverted"][Level.SUSPICIOUS] <= 0.03 * 300
    assert not found["diverted"][Level.LIKELY_COPY]


def test_who_tries_codes_is_told_and_whose_codes_they_were_is_not() -> None:
    random = Random(9)
    lives = [life for n in range(20) for life in attacks.probing(random, START + n * DAY, 20, batch=n)]
    assert scans_flagged(lives, lambda one: one.event.hostile).of_one >= 0.85
    assert scans_flagged(lives, lambda one: not one.event.hostile).of_one <= 0.02


def test_the_same_seed_gives_the_same_lives() -> None:
    one, other = (honest.population(Random(10), 200, start=START) for _ in range(2))
    assert [judged.assessment for judged in run(one)] == [judged.assessment for judged in run(other)]
