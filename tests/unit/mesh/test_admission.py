"""Who opened a stream is let in until their key or token ends; services for as long as it lasts."""

import hashlib
from datetime import UTC, datetime
from uuid import UUID

import pytest

from mesh.admission import Admission
from mesh.api_keys import ApiKeyAuthenticator, Credentials
from mesh.errors import CredentialsInvalid
from mesh.identity import Principal, set_caller
from mesh.user_tokens import UserAuthenticator
from tests.fakes.clock import HandClock
from tests.fakes.people import JWKS, access_token

FACTORY, KEY, OTHER = UUID(int=1), UUID(int=2), UUID(int=3)
SECRET = "s" * 43


class World:
    """Keys of a factory by prefix, and a clock."""

    def __init__(self) -> None:
        self.clock = HandClock()
        self.keys = {
            prefix: Credentials(FACTORY, key, hashlib.sha256(SECRET.encode()).digest()) for prefix, key in KEYS
        }
        people = UserAuthenticator(JWKS, self.clock)
        self.ways = (people, ApiKeyAuthenticator(self.find, self.clock))
        self.admission = Admission(self.ways)

    async def find(self, prefix: str) -> Credentials | None:
        return self.keys.get(prefix)

    async def open(self, metadata: dict[str, str]) -> None:
        """What a call's own step does when it begins."""
        for way in self.ways:
            if (principal := await way.authenticate(metadata)) is not None:
                set_caller(principal)


KEYS = (("abcdefgh", KEY), ("ijklmnop", OTHER))


async def test_a_key_counts_until_it_is_revoked_and_its_factory_s_other_one_goes_on() -> None:
    world, metadata = World(), {"x-api-key": f"vk_abcdefgh_{SECRET}"}
    await world.open(metadata)
    await world.admission.check(metadata)
    del world.keys["abcdefgh"]
    world.clock.seconds += 2
    with pytest.raises(CredentialsInvalid):
        await world.admission.check(metadata)
    other = {"x-api-key": f"vk_ijklmnop_{SECRET}"}
    await world.open(other)
    await world.admission.check(other)


async def test_a_person_s_token_counts_until_it_ends() -> None:
    world = World()
    token = access_token(at=datetime.fromtimestamp(world.clock.seconds, UTC))
    metadata = {"authorization": f"Bearer {token}"}
    await world.open(metadata)
    world.clock.seconds += 659
    await world.admission.check(metadata)
    world.clock.seconds += 1
    with pytest.raises(CredentialsInvalid):
        await world.admission.check(metadata)


async def test_who_is_somebody_else_now_or_nobody_is_not_let_in() -> None:
    world, metadata = World(), {"x-api-key": f"vk_abcdefgh_{SECRET}"}
    await world.open(metadata)
    for others in ({"x-api-key": f"vk_ijklmnop_{SECRET}"}, {}):
        with pytest.raises(CredentialsInvalid):
            await world.admission.check(others)


async def test_a_service_is_let_in_for_as_long_as_its_stream_lasts() -> None:
    set_caller(Principal("service", "admin"))
    await World().admission.check({})
