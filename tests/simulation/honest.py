"""Honest lives of codes: owners, families, shops, resellers, travellers, and the few who scan much."""

from random import Random

from scan.sessions import DAY
from tests.simulation.people import CITIES, City, Person, within
from tests.simulation.trial import Event, Life

SHARES = {
    "owner": 0.68, "family": 0.13, "shop": 0.10, "reseller": 0.05, "traveller": 0.033,
    "enthusiast": 0.003, "display": 0.003, "listing": 0.001,
}  # fmt: skip
"""Shares of a population; a listing is a sales advertisement whose photograph shows the code."""

BATCH = 400
HOUR = 3_600


def population(random: Random, count: int, *, start: int, first_batch: int = 0) -> list[Life]:
    """So many lives in the shares above, in batches of 400 that are sold over half a year in Brazil."""
    kinds = random.choices(list(SHARES), weights=list(SHARES.values()), k=count)
    return [
        life(random, kind, start + random.randrange(180 * DAY), batch=first_batch + number // BATCH)
        for number, kind in enumerate(kinds)
    ]


def life(random: Random, kind: str, start: int, *, batch: int = 0) -> Life:
    """One life of a kind; three products in a hundred are bought by somebody from abroad."""
    home = random.choice(CITIES if random.random() < 0.03 else within("BR"))
    events = _LIVES[kind](random, home, start)
    return Life(kind, sorted(events), batch)


def scans(person: Person, random: Random, start: int, count: int, days: float, city: City | None = None) -> list[Event]:
    """So many scans by one person over some days, the first at the start."""
    times = [start, *(start + int(random.random() * days * DAY) for _ in range(count - 1))]
    return [Event(at, person.caller(at, city), (city or person.home).name) for at in sorted(times)]


def few(random: Random, mean: float) -> int:
    """A number around a mean, geometric."""
    count = 0
    while random.random() < mean / (1 + mean):
        count += 1
    return count


def _owner(random: Random, home: City, start: int) -> list[Event]:
    return scans(Person(random, home), random, start, 1 + few(random, 1.5), 90)


def _family(random: Random, home: City, start: int) -> list[Event]:
    wifi = f"home {random.getrandbits(64):x}"
    people = [Person(random, home, wifi=wifi) for _ in range(random.randint(2, 5))]
    events = [event for person in people for event in scans(person, random, start, 1 + few(random, 1), 60)]
    if random.random() < 0.2:
        trip = start + random.randrange(5, 60) * DAY
        away = random.choice(CITIES if random.random() < 0.3 else within("BR"))
        events += [event for person in people[:2] for event in scans(person, random, trip, 1, 7, away)]
    return events


def _shop(random: Random, home: City, start: int) -> list[Event]:
    wifi = f"shop {random.getrandbits(64):x}"
    clerk = Person(random, home, wifi=wifi)
    events = scans(clerk, random, start, 1 + few(random, 0.5), 10)
    for _ in range(few(random, 1.5)):
        at = start + int(random.random() * 20 * DAY)
        events += scans(Person(random, home, wifi=wifi), random, at, 1, 1)
    return events + _owner(random, home, start + 21 * DAY)


def _display(random: Random, home: City, start: int) -> list[Event]:
    wifi, events = f"shop {random.getrandbits(64):x}", []
    for _ in range(random.randint(10, 40)):
        at = start + int(random.random() * 30 * DAY)
        events += scans(Person(random, home, wifi=wifi), random, at, 1, 1)
    return events


def _reseller(random: Random, home: City, start: int) -> list[Event]:
    events, at = [], start
    for city in [*random.choices(within("BR"), k=random.randint(2, 3)), home]:
        wifi = f"store {random.getrandbits(64):x}"
        for _ in range(random.randint(1, 3)):
            events += scans(Person(random, city, wifi=wifi), random, at + random.randrange(3 * DAY), 1, 1)
        at += random.randrange(4, 20) * DAY
    return events + _owner(random, home, at)


def _traveller(random: Random, home: City, start: int) -> list[Event]:
    person, companion = Person(random, home), Person(random, home)
    events, at = scans(person, random, start, 1 + few(random, 1), 10), start + 11 * DAY
    for city in random.sample(CITIES, random.randint(1, 4)):
        events += scans(person, random, at, 1 + few(random, 0.7), 3, city)
        if random.random() < 0.5:
            events += scans(companion, random, at + HOUR, 1, 1, city)
        at += random.randrange(4, 10) * DAY
    return events + scans(person, random, at, 1, 1)


def _enthusiast(random: Random, home: City, start: int) -> list[Event]:
    return scans(Person(random, home), random, start, random.randint(20, 60), 60)


def _listing(random: Random, home: City, start: int) -> list[Event]:
    events = _owner(random, home, start)
    for _ in range(random.randint(5, 30)):
        at = start + int(random.random() * 10 * DAY)
        events += scans(Person(random, random.choice(within("BR"))), random, at, 1, 1)
    return events


_LIVES = {
    "owner": _owner,
    "family": _family,
    "shop": _shop,
    "display": _display,
    "reseller": _reseller,
    "traveller": _traveller,
    "enthusiast": _enthusiast,
    "listing": _listing,
}
