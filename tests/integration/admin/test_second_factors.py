"""A second factor from enrolling to removing, and codes that are wrong, old, used or guessed."""

import asyncio
import base64
import time
from typing import Any

import grpc
import pytest
from voketag.admin.v1 import auth_pb2

from admin.second_factors import totp
from tests.fakes.clock import HandClock
from tests.integration.admin.test_people import refused
from tests.integration.admin.world import PASSWORD, Door, Ground, Person, at, new_address

pytestmark = pytest.mark.asyncio(loop_scope="module")


def login(person: Person, code: str = "", password: str = PASSWORD) -> Any:
    request = auth_pb2.LoginRequest(email=person.email, password=password, code=code)
    return person.door.auth.Login(request, metadata=at(new_address()))


def auth(person: Person, method: str, **fields: str) -> Any:
    message = getattr(auth_pb2, f"{method}Request")(**fields)
    return getattr(person.door.auth, method)(message, metadata=person.metadata)


def shown(secret: str, clock: HandClock, steps: int = 0) -> str:
    return totp(base64.b32decode(secret), int(clock.seconds) // 30 + steps)


async def enrolled(door: Door, clock: HandClock) -> tuple[Person, str, list[str]]:
    """An admin with a second factor that counts, its secret, and the recovery codes."""
    admin = await door.admin()
    secret = (await auth(admin, "EnrolSecondFactor", password=PASSWORD)).secret
    confirmed = await auth(admin, "ConfirmSecondFactor", code=shown(secret, clock))
    clock.seconds += 60
    return admin, secret, list(confirmed.recovery_codes)


async def test_a_second_factor_from_first_to_last(ground: Ground) -> None:
    clock = HandClock()
    clock.seconds = time.time()
    async with ground.server(clock=clock) as door:
        admin = await door.admin()
        assert await refused(auth(admin, "EnrolSecondFactor", password="wrong password")) == "LOGIN_REFUSED"
        assert await refused(auth(admin, "ConfirmSecondFactor", code="000000")) == "SECOND_FACTOR_CONFLICT"
        assert await refused(auth(admin, "RemoveSecondFactor", code="000000")) == "SECOND_FACTOR_CONFLICT"
        first = await auth(admin, "EnrolSecondFactor", password=PASSWORD)
        second = await auth(admin, "EnrolSecondFactor", password=PASSWORD)
        assert first.secret != second.secret
        assert f"secret={second.secret}&issuer=VokeTag" in second.uri
        await login(admin)
        assert await refused(auth(admin, "ConfirmSecondFactor", code=shown(first.secret, clock))) == "LOGIN_REFUSED"
        codes = (await auth(admin, "ConfirmSecondFactor", code=shown(second.secret, clock))).recovery_codes
        assert len(set(codes)) == 10
        me = await door.auth.GetMe(auth_pb2.GetMeRequest(), metadata=admin.metadata)
        assert me.second_factor
        assert await refused(auth(admin, "EnrolSecondFactor", password=PASSWORD)) == "SECOND_FACTOR_CONFLICT"
        assert await refused(login(admin)) == "SECOND_FACTOR_REQUIRED"
        assert await refused(login(admin, password="a wrong password")) == "LOGIN_REFUSED"
        assert await refused(login(admin, shown(second.secret, clock))) == "LOGIN_REFUSED", "used to confirm"
        clock.seconds += 30
        await login(admin, shown(second.secret, clock))
        async with ground.owner() as owner:
            rows = await owner.fetch("SELECT to_jsonb(f)::text AS row FROM second_factors f")
            raw = base64.b32decode(second.secret)
            assert not [r for r in rows if raw.hex() in r["row"] or second.secret in r["row"] or codes[0] in r["row"]]
        clock.seconds += 60
        await auth(admin, "RemoveSecondFactor", code=shown(second.secret, clock))
        await login(admin)


async def test_codes_are_good_once_and_a_step_early_or_late(ground: Ground) -> None:
    clock = HandClock()
    clock.seconds = time.time()
    async with ground.server(clock=clock) as door:
        admin, secret, codes = await enrolled(door, clock)
        for steps in (-2, 2):
            assert await refused(login(admin, shown(secret, clock, steps))) == "LOGIN_REFUSED"
        late, early = shown(secret, clock, -1), shown(secret, clock, 1)
        await login(admin, late)
        assert await refused(login(admin, late)) == "LOGIN_REFUSED"
        answers = await asyncio.gather(*(login(admin, early) for _ in range(3)), return_exceptions=True)
        assert [isinstance(answer, grpc.aio.AioRpcError) for answer in answers].count(False) == 1
        await login(admin, codes[3].lower())
        assert await refused(login(admin, codes[3])) == "LOGIN_REFUSED"
        await login(admin, codes[4])


async def test_guessing_codes_gets_slower(ground: Ground) -> None:
    clock = HandClock()
    clock.seconds = time.time()
    async with ground.server(clock=clock) as door:
        admin, secret, _ = await enrolled(door, clock)
        answers = [await refused(login(admin, f"{n:06d}x")) for n in range(8)]
        assert answers == ["LOGIN_REFUSED"] * 5 + ["LOGIN_LOCKED"] * 3
        assert await refused(auth(admin, "RemoveSecondFactor", code="000000")) == "LOGIN_LOCKED"
        clock.seconds += 900
        await login(admin, shown(secret, clock))


async def test_the_forgotten_have_none(ground: Ground) -> None:
    clock = HandClock()
    clock.seconds = time.time()
    async with ground.server(clock=clock) as door:
        admin, _, _ = await enrolled(door, clock)
        other = await door.admin()
        await other.call("DeleteUser", user_id=admin.user_id)
        async with ground.owner() as owner:
            assert not await owner.fetch("SELECT FROM second_factors WHERE user_id = $1::uuid", admin.user_id)
