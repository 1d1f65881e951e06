"""Who scans: names that last a day, and that nobody can work out once its salt is gone."""

import asyncio
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta

import pytest

from mesh.errors import DependencyUnavailable
from mesh.presence import Presence
from scan.caller import Callers, device_name
from scan.geography import FromEdge
from scan.salts import Salts
from scan.sessions import Place

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
ID = "0123456789abcdef" * 2
PHONE = {"user-agent": "Phone", "accept-language": "pt-BR"}


class Days:
    """A clock that is set."""

    def __init__(self, now: datetime) -> None:
        self.at = now

    def now(self) -> datetime:
        return self.at

    def monotonic(self) -> float:
        return self.at.timestamp()


class Kept:
    """Salts as a table keeps them."""

    def __init__(self) -> None:
        self.rows: dict[date, bytes] = {}
        self.away = False

    async def salts(self, wanted: Mapping[date, bytes], *, before: date) -> Mapping[date, bytes]:
        if self.away:
            raise DependencyUnavailable(dependency="PostgreSQL")
        self.rows = {**wanted, **self.rows}
        self.rows = {day: salt for day, salt in self.rows.items() if day >= before}
        return dict(self.rows)


def salts(kept: Kept, clock: Days) -> Salts:
    return Salts(kept, clock, Presence("salts of a test"))


async def callers(kept: Kept, clock: Days) -> Callers:
    made = salts(kept, clock)
    await made.look()
    return Callers(made, FromEdge())


async def test_all_processes_give_a_caller_the_same_names() -> None:
    kept, clock = Kept(), Days(NOON)
    one, other = await callers(kept, clock), await callers(kept, clock)
    metadata = {**PHONE, "x-client-place": "BR"}
    here = one.name("198.51.100.7", metadata)
    assert here == other.name("198.51.100.9", metadata), "neighbours share a prefix, and this phone is of a common kind"
    assert here.place == Place("BR", 0)
    assert here.device is not None
    assert len(here.device) == len(here.source) == 16
    assert one.name("203.0.113.7", metadata).source != here.source
    assert one.name("203.0.113.7", metadata).device != here.device
    assert one.name("198.51.100.7", {**metadata, "user-agent": "Another"}).device != here.device


async def test_a_cookie_names_a_device_wherever_it_goes() -> None:
    found = await callers(Kept(), Days(NOON))
    cookie = {"cookie": f"a=b; vt_install={ID}; c=d"}
    here, there = found.name("198.51.100.7", {**PHONE, **cookie}), found.name("203.0.113.7", cookie)
    assert here.device == there.device
    assert here.source != there.source


@pytest.mark.parametrize("cookie", ["", "vt_install=", f"vt_install={ID[:-1]}", f"vt_install={ID.upper()}", f"x{ID}"])
def test_other_cookies_name_nobody(cookie: str) -> None:
    assert device_name({"cookie": cookie}, "198.51.100.0/24").startswith("fingerprint:198.51.100.0/24:")


async def test_yesterdays_names_cannot_be_worked_out_again() -> None:
    kept, clock = Kept(), Days(NOON)
    yesterday = (await callers(kept, clock)).name("198.51.100.7", PHONE)
    salt = kept.rows[NOON.date()]
    clock.at += timedelta(days=1)
    today = await callers(kept, clock)
    assert today.name("198.51.100.7", PHONE) != yesterday
    assert kept.rows[NOON.date()] == salt, "for a day, so that what is on its way keeps its meaning"
    clock.at += timedelta(days=1)
    later = salts(kept, clock)
    await later.look()
    assert NOON.date() not in kept.rows
    assert salt not in kept.rows.values()
    assert Callers(later, FromEdge()).name("198.51.100.7", PHONE) != yesterday


async def test_midnight_needs_no_database() -> None:
    kept, clock = Kept(), Days(NOON)
    found = await callers(kept, clock)
    kept.away = True
    clock.at += timedelta(hours=12)
    assert found.name("198.51.100.7", PHONE).device is not None


async def test_without_a_salt_a_caller_has_no_device_and_a_name_here_alone() -> None:
    kept, clock = Kept(), Days(NOON)
    kept.away = True
    one, other = (Callers(salts(kept, clock), FromEdge()) for _ in range(2))
    here = one.name("198.51.100.7", PHONE)
    assert here.device is None
    assert here.source == one.name("198.51.100.9", PHONE).source != other.name("198.51.100.7", PHONE).source


async def test_a_salt_that_could_not_be_had_is_looked_for_until_it_is() -> None:
    kept, clock = Kept(), Days(NOON)
    kept.away = True
    made = salts(kept, clock)
    async with made.followed(), asyncio.timeout(10):
        await asyncio.sleep(0)
        assert not made.names()[1]
        kept.away = False
        while not made.names()[1]:
            await asyncio.sleep(0.05)


async def test_whoever_scans_for_many_is_no_device() -> None:
    found = await callers(Kept(), Days(NOON))
    crowd = found.crowd("198.51.100.7", {**PHONE, "cookie": f"vt_install={ID}"})
    assert crowd.device is None
    assert crowd.source == found.name("198.51.100.7", PHONE).source
