"""Access tokens of people: what is let in, and everything that is not."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from mesh.errors import CredentialsInvalid
from mesh.identity import Principal, ServiceAuthenticator
from mesh.user_tokens import UserAuthenticator
from tests.fakes.clock import HandClock
from tests.fakes.people import JWKS, KEY, OLD_KEY, SOMEBODY, access_token, forged_hmac, raw_public

FACTORY = UUID("0190c8a0-0000-7000-8000-00000000000f")
START = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def clock() -> HandClock:
    hand = HandClock()
    hand.seconds = START.timestamp()
    return hand


async def authenticate(token: str, hand: HandClock | None = None) -> Principal | None:
    return await UserAuthenticator(JWKS, hand or clock()).authenticate({"authorization": f"Bearer {token}"})


def issued(role: object = "admin", after: timedelta = timedelta(), **changes: Any) -> str:
    return access_token(role, at=START + after, **changes)


async def test_a_person_has_a_role_and_may_have_a_factory() -> None:
    assert await authenticate(issued()) == Principal("user", SOMEBODY, roles=frozenset({"admin"}))
    manager = Principal("user", SOMEBODY, roles=frozenset({"factory_manager"}), factory_id=FACTORY)
    assert await authenticate(issued("factory_manager", factory=str(FACTORY))) == manager
    assert str(manager) == f"user:{SOMEBODY}"


async def test_both_keys_count_while_they_are_rotated() -> None:
    assert await authenticate(issued(kid="user-1", key=OLD_KEY))


@pytest.mark.parametrize("skew", [-60, -59, 59, 60])
async def test_clocks_may_differ_by_a_minute(skew: int) -> None:
    assert await authenticate(issued(after=timedelta(seconds=skew)))


async def test_a_token_lives_ten_minutes_and_the_leeway() -> None:
    hand = clock()
    users, metadata = UserAuthenticator(JWKS, hand), {"authorization": f"bearer {issued()}"}
    assert await users.authenticate(metadata)
    hand.seconds += 659
    assert await users.authenticate(metadata)
    hand.seconds += 1
    with pytest.raises(CredentialsInvalid):
        await users.authenticate(metadata)


REFUSED: dict[str, Callable[[], str]] = {
    "expired": lambda: issued(after=-timedelta(seconds=660)),
    "from the future": lambda: issued(after=timedelta(seconds=61)),
    "lives too long": lambda: issued(exp=START + timedelta(seconds=601)),
    "no expiry": lambda: issued(exp=None),
    "no issue time": lambda: issued(iat=None),
    "expiry is no number": lambda: issued(exp="soon"),
    "other audience": lambda: issued(aud="factory"),
    "no audience": lambda: issued(aud=None),
    "other issuer": lambda: issued(iss="factory"),
    "no issuer": lambda: issued(iss=None),
    "nobody": lambda: issued(sub=None),
    "nobody we know": lambda: issued(sub="root"),
    "no role": lambda: issued(None),
    "unknown role": lambda: issued("root"),
    "unspecified role": lambda: issued("unspecified"),
    "roles in a list": lambda: issued(["admin"]),
    "factory is none": lambda: issued(factory="mine"),
    "unknown key id": lambda: issued(kid="user-3"),
    "no key id": lambda: issued(kid=None),
    "another's key": lambda: issued(kid="user-1", key=KEY),
    "no signature": lambda: issued(alg="none", key=""),
    "public key as HMAC secret": lambda: forged_hmac(issued(), raw_public(KEY)),
    "public key in DER as HMAC secret": lambda: forged_hmac(
        issued(), KEY.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    ),
    "public key in PEM as HMAC secret": lambda: forged_hmac(
        issued(), KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    ),
    "signature cut off": lambda: issued().rpartition(".")[0] + ".",
    "claims of another token": lambda: ".".join(
        (issued("support").split(".")[0], issued("admin").split(".")[1], issued("support").split(".")[2])
    ),
    "not a token": lambda: "abc",
    "empty": lambda: "",
}


@pytest.mark.parametrize("token", REFUSED.values(), ids=REFUSED)
async def test_token_is_refused(token: Callable[[], str]) -> None:
    with pytest.raises(CredentialsInvalid):
        await authenticate(token())


async def test_tokens_of_people_and_of_services_do_not_meet() -> None:
    services = ServiceAuthenticator('{"keys": []}', "admin", clock())
    assert await services.authenticate({"authorization": f"Bearer {issued()}"}) is None
    assert await authenticate(issued(typ="JWT")) is None
    users = UserAuthenticator(JWKS, clock())
    assert await users.authenticate({}) is None
    assert await users.authenticate({"authorization": "Basic abc"}) is None
