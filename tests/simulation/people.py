"""People with phones: where they are, and where their address seems to be."""

from dataclasses import dataclass
from random import Random
from typing import NamedTuple
from zlib import crc32

from scan.sessions import DAY, Place, place_at
from tests.simulation.counters import Caller


class City(NamedTuple):
    """A city and its middle in degrees."""

    name: str
    country: str
    latitude: float
    longitude: float


CITIES = [
    City("São Paulo", "BR", -23.55, -46.63), City("Campinas", "BR", -22.91, -47.06),
    City("Rio de Janeiro", "BR", -22.91, -43.17), City("Belo Horizonte", "BR", -19.92, -43.94),
    City("Brasília", "BR", -15.79, -47.88), City("Goiânia", "BR", -16.69, -49.26),
    City("Salvador", "BR", -12.97, -38.50), City("Recife", "BR", -8.05, -34.88),
    City("Fortaleza", "BR", -3.73, -38.52), City("Belém", "BR", -1.46, -48.49),
    City("Manaus", "BR", -3.12, -60.02), City("Curitiba", "BR", -25.43, -49.27),
    City("Porto Alegre", "BR", -30.03, -51.23), City("Cuiabá", "BR", -15.60, -56.10),
    City("Buenos Aires", "AR", -34.60, -58.38), City("Córdoba", "AR", -31.42, -64.18),
    City("Montevideo", "UY", -34.90, -56.16), City("Asunción", "PY", -25.26, -57.58),
    City("Santiago", "CL", -33.45, -70.67), City("Lima", "PE", -12.05, -77.04),
    City("Bogotá", "CO", 4.71, -74.07), City("Mexico City", "MX", 19.43, -99.13),
    City("New York", "US", 40.71, -74.01), City("Miami", "US", 25.76, -80.19),
    City("Los Angeles", "US", 34.05, -118.24), City("Lisbon", "PT", 38.72, -9.14),
    City("Madrid", "ES", 40.42, -3.70), City("Paris", "FR", 48.86, 2.35),
    City("Berlin", "DE", 52.52, 13.41), City("Hamburg", "DE", 53.55, 9.99),
    City("Munich", "DE", 48.14, 11.58), City("London", "GB", 51.51, -0.13),
    City("Milan", "IT", 45.46, 9.19), City("Istanbul", "TR", 41.01, 28.98),
    City("Lagos", "NG", 6.52, 3.38), City("Nairobi", "KE", -1.29, 36.82),
    City("Dubai", "AE", 25.20, 55.27), City("Mumbai", "IN", 19.08, 72.88),
    City("Singapore", "SG", 1.35, 103.82), City("Hong Kong", "HK", 22.32, 114.17),
    City("Tokyo", "JP", 35.68, 139.69), City("Sydney", "AU", -33.87, 151.21),
]  # fmt: skip


def within(country: str) -> list[City]:
    """The cities of a country."""
    return [city for city in CITIES if city.country == country]


@dataclass(frozen=True, slots=True)
class Habits:
    """How addresses and browsers mislead, as shares of scans or of people: guesses."""

    mobile: float = 0.5
    mobile_coarse: float = 0.5
    mobile_elsewhere: float = 0.12
    fresh_browser: float = 0.15
    vpn_people: float = 0.04
    vpn_scans: float = 0.3


HABITS = Habits()


class Person:
    """Somebody with a phone, who lives in a city; `wifi` is the address there, a shop's for those who scan in it."""

    def __init__(self, random: Random, home: City, *, wifi: str = "") -> None:
        self.home = home
        self._random = random
        self._device = f"{random.getrandbits(64):x}"
        self._wifi = wifi or f"wifi {random.getrandbits(64):x}"
        self._tunnels = random.random() < HABITS.vpn_people

    def caller(self, at: int, city: City | None = None) -> Caller:
        """What we see of a scan made in a city, at home where none is given."""
        random, city = self._random, city or self.home
        device = f"{random.getrandbits(64):x}" if random.random() < HABITS.fresh_browser else self._device
        if self._tunnels and random.random() < HABITS.vpn_scans:
            return tunnel(random, at, device)
        if random.random() >= HABITS.mobile:
            address = self._wifi if city == self.home else f"wifi {city.name} {random.randrange(5_000)}"
            return seen(at, device, address, located(random, city))
        address = f"mobile {city.country} {random.randrange(200)}"
        luck = random.random()
        if luck < HABITS.mobile_coarse:
            return seen(at, device, address, located(random, city, accuracy_km=500))
        if luck < HABITS.mobile_coarse + HABITS.mobile_elsewhere:
            city = random.choice(within(city.country))
        return seen(at, device, address, located(random, city))


def tunnel(random: Random, at: int, device: str) -> Caller:
    """A scan through a VPN: anywhere, from one of few addresses there."""
    city = random.choice(CITIES)
    return seen(at, device, f"vpn {city.name} {random.randrange(8)}", located(random, city))


def located(random: Random, city: City, *, accuracy_km: float = 20) -> Place:
    """Where a database puts an address in a city: some kilometres beside it."""
    latitude, longitude = random.gauss(city.latitude, 0.15), random.gauss(city.longitude, 0.15)
    return place_at(city.country, latitude, longitude, accuracy_km)


def seen(at: int, device: str, address: str, place: Place | None) -> Caller:
    """The hashes of a day."""
    day = at // DAY
    return Caller(crc32(f"{day} {device}".encode()), crc32(f"{day} {address}".encode()) & 0xFFFF, place)
