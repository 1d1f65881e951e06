"""What people do with codes that are not theirs to use: copies, shipments gone astray, guessing, and false alarms."""

from random import Random

from scan.factors import Reports
from scan.sessions import DAY
from tests.simulation.honest import life, scans
from tests.simulation.people import CITIES, City, Person, located, seen, tunnel, within
from tests.simulation.trial import Event, Life

ENOUGH_SCANS, ENOUGH_PLACES = 20, 3


def copied_label(random: Random, start: int, *, days: int, batch: int = 0) -> Life:
    """A label copied onto goods that are sold in three to eight cities, some more than others; 20 to 60 are scanned."""
    cities = random.sample(within("BR") if random.random() < 0.5 else CITIES, random.randint(3, 8))
    events = _buyers(random, cities, start, random.randint(20, 60), days)
    genuine = life(random, "owner", start).events
    return Life("copied label", sorted([*genuine, *events]), batch)


def printed_everywhere(random: Random, start: int, *, batch: int = 0) -> Life:
    """One label printed by the thousand and sold in eight to thirty cities of the world over two months."""
    cities = random.sample(CITIES, random.randint(8, 30))
    return Life("one label everywhere", _buyers(random, cities, start, random.randint(100, 400), 60), batch)


def shipment(random: Random, start: int, count: int, *, batch: int) -> list[Life]:
    """Genuine goods for Brazil, half of which went to Germany; each is scanned by its owner."""
    lives = []
    for number in range(count):
        astray = number % 2 == 0
        person = Person(random, random.choice(within("DE" if astray else "BR")))
        events = scans(person, random, start + random.randrange(60 * DAY), random.randint(1, 3), 30)
        lives.append(Life("diverted" if astray else "not diverted", events, batch))
    return lives


def probing(random: Random, start: int, count: int, *, batch: int = 0) -> list[Life]:
    """Somebody behind one address, cookies kept, who tries ten wrong codes for every right one within an hour."""
    device, city = f"{random.getrandbits(64):x}", random.choice(CITIES)
    place, lives = located(random, city), []
    for number in range(count):
        at = start + number * 60
        theirs = Event(at, seen(at, device, f"prober {device}", place), city.name, bad_tags=10, hostile=True)
        owner = life(random, "owner", start + random.randrange(-30, 30) * DAY).events
        lives.append(Life("probed", sorted([*owner, theirs]), batch))
    return lives


def false_alarm(random: Random, start: int, effort: str, *, batch: int = 0) -> Life:
    """An owner's code, which somebody photographed and now scans to make it look copied.

    By effort: `phone`, one phone through a VPN; `script`, a new browser for each scan through a VPN; `network`, rented
    home addresses the world over, new browsers, a month's patience, and a dozen reports on top.
    """
    owner = life(random, "owner", start)
    owner.events += _false_scans(random, start, effort)
    owner.events.sort()
    owner.kind, owner.batch = f"false alarm, {effort}", batch
    if effort == "network":
        owner.reports = Reports(open=12, confirmed=0)
    return owner


def _false_scans(random: Random, start: int, effort: str) -> list[Event]:
    device = f"{random.getrandbits(64):x}"
    events = []
    for _ in range({"phone": 60, "script": 300, "network": 600}[effort]):
        at = start + random.randrange({"phone": 2, "script": 3, "network": 30}[effort] * DAY)
        if effort == "phone":
            caller = tunnel(random, at, device)
        elif effort == "script":
            caller = tunnel(random, at, f"{random.getrandbits(64):x}")
        else:
            city = random.choice(CITIES)
            address = f"{random.getrandbits(64):x}"
            caller = seen(at, address, address, located(random, city))
        events.append(Event(at, caller, "nowhere", hostile=True))
    return events


def _buyers(random: Random, cities: list[City], start: int, count: int, days: int) -> list[Event]:
    skew = random.uniform(0, 1.2)
    shares = [1 / (rank + 1) ** skew for rank in range(len(cities))]
    events = []
    for city in random.choices(cities, weights=shares, k=count):
        at = start + random.randrange(days * DAY)
        events += scans(Person(random, city), random, at, 1, 1)
    return sorted(events)


def seen_enough(events: list[Event]) -> int | None:
    """The index of the scan with which a code was seen 20 times in 3 cities; None when it never was."""
    cities: set[str] = set()
    for index, event in enumerate(events):
        cities.add(event.city)
        if index + 1 >= ENOUGH_SCANS and len(cities) >= ENOUGH_PLACES:
            return index
    return None
