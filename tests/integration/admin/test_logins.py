"""Logging in, carrying on and logging out; and everything that people try at that door."""

import asyncio
import statistics
import time
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import grpc
import pytest
from voketag.admin.v1 import auth_pb2
from voketag.mesh.v1 import access_pb2

from admin.passwords import Cost
from mesh.clock import SystemClock
from mesh.identity import ServiceTokens
from tests.fakes.clock import HandClock
from tests.fakes.people import access_token, forged_hmac
from tests.integration.admin.test_people import refused
from tests.integration.admin.world import PASSWORD, Door, Ground, Person, at, new_address
from tests.integration.factory.world import eventually, reason_of

pytestmark = pytest.mark.asyncio(loop_scope="module")
OTHER = "another long password, quite"


def refresh(door: Door, token: str) -> Any:
    return door.auth.Refresh(auth_pb2.RefreshRequest(refresh_token=token), metadata=at(new_address()))


def reset(door: Door, token: str, password: str = OTHER) -> Any:
    request = auth_pb2.ResetPasswordRequest(token=token, new_password=password)
    return door.auth.ResetPassword(request, metadata=at(new_address()))


def change(person: Person, current: str, new: str = OTHER) -> Any:
    request = auth_pb2.ChangePasswordRequest(current_password=current, new_password=new)
    return person.door.auth.ChangePassword(request, metadata=person.metadata)


async def test_a_session_from_login_to_logout(door: Door, admin: Person) -> None:
    opened = await door.login(admin.email.upper())
    assert opened.user.user_id == admin.user_id
    tokens = (await refresh(door, opened.tokens.refresh_token)).tokens
    assert tokens.refresh_token != opened.tokens.refresh_token
    assert tokens.session_expire_time == opened.tokens.session_expire_time
    assert (await Person(door, admin.email, admin.user_id, tokens).me()).email == admin.email
    logout = auth_pb2.LogoutRequest(refresh_token=tokens.refresh_token)
    await door.auth.Logout(logout)
    assert await refused(refresh(door, tokens.refresh_token)) == "CREDENTIALS_INVALID"
    await door.auth.Logout(logout)
    await door.auth.Logout(auth_pb2.LogoutRequest(refresh_token="unknown"))
    assert (await admin.me()).email == admin.email, "another session goes on"


async def test_the_published_keys_are_those_of_the_tokens(door: Door, admin: Person) -> None:
    import json

    import jwt
    from google.protobuf.json_format import MessageToJson

    published = json.loads(MessageToJson(await door.auth.GetJwks(auth_pb2.GetJwksRequest())))
    keys = jwt.PyJWKSet.from_dict(published)
    claims = jwt.decode(
        admin.tokens.access_token,
        keys[jwt.get_unverified_header(admin.tokens.access_token)["kid"]],
        algorithms=["EdDSA"],
        audience="voketag",
        issuer="voketag-admin",
    )
    assert claims["sub"] == admin.user_id
    assert set(published["keys"][0]) == {"kty", "crv", "x", "kid", "use", "alg"}


async def test_unknown_wrong_and_disabled_answer_alike_and_as_slowly(ground: Ground) -> None:
    async with ground.server(argon2_memory_kib=8192, argon2_passes=4) as door:
        admin = await door.admin()
        person = await door.add(admin)
        await admin.call("DisableUser", user_id=person.user_id)
        answers, seconds = set(), {"unknown": list[float](), "wrong": list[float](), "disabled": list[float]()}
        for _ in range(4):
            for kind, email in (("unknown", "nobody@x.example"), ("wrong", admin.email), ("disabled", person.email)):
                started = time.perf_counter()
                with pytest.raises(grpc.aio.AioRpcError) as error:
                    await door.login(email, "a wrong password, long")
                seconds[kind].append(time.perf_counter() - started)
                answers.add((error.value.code(), error.value.details(), reason_of(error.value)))
        assert len(answers) == 1
        medians = [statistics.median(values) for values in seconds.values()]
        assert max(medians) < 5 * min(medians), seconds


async def test_guessing_gets_slower_for_the_unknown_too(ground: Ground) -> None:
    clock = HandClock()
    clock.seconds = time.time()
    async with ground.server(clock=clock) as door:
        await door.maker.create(email := f"victim-{uuid4().hex}@example.com", "Victim", PASSWORD)
        for target in (email, f"nobody-{uuid4().hex}@example.com"):
            waits = []
            for _ in range(13):
                with pytest.raises(grpc.aio.AioRpcError) as error:
                    await door.login(target, "wrong wrong wrong")
                if reason_of(error.value) == "LOGIN_LOCKED":
                    seconds = int((error.value.details() or "").split(" in ")[1].split()[0])
                    waits.append(seconds)
                    clock.seconds += seconds
            assert waits == [1, 2, 4, 8], waits
            right = door.login(email)
            if target == email:
                assert await refused(right) == "LOGIN_LOCKED"
                clock.seconds += 900
                await door.login(email)
                assert await refused(door.login(email, "wrong wrong wrong")) == "LOGIN_REFUSED"
            else:
                await right


async def test_attempts_at_the_same_time_do_not_pass_as_one(door: Door, admin: Person) -> None:
    answers = await asyncio.gather(*(refused(door.login(admin.email, "wrong wrong wrong")) for _ in range(30)))
    assert answers.count("LOGIN_REFUSED") <= 5
    assert answers.count("LOGIN_LOCKED") >= 25


async def test_an_address_that_tries_many_people_has_to_wait(door: Door, admin: Person) -> None:
    address = new_address()
    answers = [await refused(door.login(f"{uuid4().hex}@example.com", "wrong wrong wrong", address)) for _ in range(32)]
    assert answers[:30] == ["LOGIN_REFUSED"] * 30
    assert "LOGIN_LOCKED" in answers[30:]
    await door.login(admin.email)


async def test_a_used_refresh_token_ends_its_session(ground: Ground, door: Door, admin: Person) -> None:
    old = admin.tokens.refresh_token
    new = (await refresh(door, old)).tokens.refresh_token
    assert await refused(refresh(door, old)) == "CREDENTIALS_INVALID"
    assert await refused(refresh(door, new)) == "CREDENTIALS_INVALID"
    async with ground.owner() as owner:
        details = await owner.fetch(
            "SELECT detail FROM audit WHERE result = 'OK' AND actor_id = $1 ORDER BY audit_id", admin.user_id
        )
        assert "came again" in details[-1]["detail"]
    await door.login(admin.email)


async def test_of_two_refreshes_at_once_at_most_one_is_answered(door: Door, admin: Person) -> None:
    calls = [refresh(door, admin.tokens.refresh_token) for _ in range(5)]
    results = await asyncio.gather(*calls, return_exceptions=True)
    good = [r for r in results if not isinstance(r, BaseException)]
    assert len(good) == 1
    assert await refused(refresh(door, good[0].tokens.refresh_token)) == "CREDENTIALS_INVALID"


@pytest.mark.parametrize("token", ["x", "A" * 43, "é" * 20, "'; DROP TABLE sessions; --", "\x00"])
async def test_made_up_refresh_tokens_are_refused(door: Door, token: str) -> None:
    assert await refused(refresh(door, token)) == "CREDENTIALS_INVALID"


async def test_sessions_end_by_themselves(ground: Ground) -> None:
    clock = HandClock()
    clock.seconds = time.time()
    async with ground.server(clock=clock) as door:
        admin = await door.admin()
        tokens = (await refresh(door, admin.tokens.refresh_token)).tokens
        clock.seconds += 659
        assert await Person(door, admin.email, admin.user_id, tokens).me()
        clock.seconds += 1
        assert await refused(Person(door, admin.email, admin.user_id, tokens).me()) == "CREDENTIALS_INVALID"
        clock.seconds += timedelta(days=7).total_seconds()
        assert await refused(refresh(door, tokens.refresh_token)) == "CREDENTIALS_INVALID"
        await door.parts.upkeep.run_once()
        async with ground.owner() as owner:
            assert not await owner.fetch("SELECT FROM sessions WHERE user_id = $1::uuid", admin.user_id)


async def test_forged_tokens_are_refused_at_the_door(door: Door, admin: Person) -> None:
    mine = admin.tokens.access_token
    service = ServiceTokens("factory", door.ground.secrets.identity("factory").read_text(), SystemClock())
    head, body, signature = mine.split(".")
    for token, reason in {
        access_token("admin", kid="user-1", sub=admin.user_id): "CREDENTIALS_INVALID",
        access_token("admin", kid="user-1", alg="none", key="", sub=admin.user_id): "CREDENTIALS_INVALID",
        access_token("admin", at=datetime.now(UTC) - timedelta(hours=1)): "CREDENTIALS_INVALID",
        forged_hmac(mine, b"public"): "CREDENTIALS_INVALID",
        f"{head}.{body}.": "CREDENTIALS_INVALID",
        f"{head}.{body}.{signature[:-4]}AAAA": "CREDENTIALS_INVALID",
        service.token("admin"): "ACCESS_DENIED",
        "": "CREDENTIALS_INVALID",
    }.items():
        metadata = (("authorization", f"Bearer {token}"),)
        assert await refused(door.auth.GetMe(auth_pb2.GetMeRequest(), metadata=metadata)) == reason, token


async def test_a_changed_password_counts_and_ends_every_session(door: Door, admin: Person) -> None:
    other = (await door.login(admin.email)).tokens.refresh_token
    assert await refused(change(admin, "not my password")) == "LOGIN_REFUSED"
    assert await refused(change(admin, PASSWORD, "short")) == "VALIDATION_FAILED"
    for weak in ("aaaaaaaaaaaaaaaa", admin.email, f"{admin.email.partition('@')[0]}123"):
        assert await refused(change(admin, PASSWORD, weak)) == "PASSWORD_REFUSED", weak
    await change(admin, PASSWORD)
    assert await refused(refresh(door, other)) == "CREDENTIALS_INVALID"
    assert await refused(refresh(door, admin.tokens.refresh_token)) == "CREDENTIALS_INVALID"
    assert await refused(door.login(admin.email)) == "LOGIN_REFUSED"
    await door.login(admin.email, OTHER)


async def test_a_mailed_token_is_good_once_whoever_comes_first(ground: Ground, door: Door, admin: Person) -> None:
    person = await door.add(admin)
    request_id = str(uuid4())
    for _ in range(2):
        await admin.call("SendPasswordReset", user_id=person.user_id, request_id=request_id)
    (_, token) = ground.tokens_for(person.email)
    assert await refused(reset(door, token, "aaaaaaaaaaaaaaaa")) == "PASSWORD_REFUSED"
    passwords = [f"{OTHER} {i}" for i in range(5)]
    results = await asyncio.gather(*(reset(door, token, p) for p in passwords), return_exceptions=True)
    assert [isinstance(r, BaseException) for r in results].count(False) == 1
    assert {reason_of(r) for r in results if isinstance(r, grpc.aio.AioRpcError)} == {"RESET_INVALID"}
    winner = passwords[[isinstance(r, BaseException) for r in results].index(False)]
    await door.login(person.email, winner)
    assert await refused(refresh(door, person.tokens.refresh_token)) == "CREDENTIALS_INVALID"
    assert await refused(reset(door, "made up")) == "RESET_INVALID"
    async with ground.owner() as owner:
        rows = await owner.fetch("SELECT to_jsonb(r)::text AS row FROM password_resets r")
        assert not [row for row in rows if token in row["row"]]


async def test_a_mailed_token_lives_half_an_hour_and_no_longer_than_the_next_password(ground: Ground) -> None:
    clock = HandClock()
    clock.seconds = time.time()
    async with ground.server(clock=clock) as door:
        admin = await door.admin()
        person = await door.add(admin)
        await admin.call("SendPasswordReset", user_id=person.user_id)
        clock.seconds += 1800
        assert await refused(reset(door, ground.tokens_for(person.email)[-1])) == "RESET_INVALID"
        await door.admin()
        admin = await door.person(admin.email)
        for _ in range(2):
            await admin.call("SendPasswordReset", user_id=person.user_id)
        first, second = ground.tokens_for(person.email)[-2:]
        await admin.call("DisableUser", user_id=person.user_id)
        assert await refused(reset(door, first)) == "RESET_INVALID"
        await admin.call("DisableUser", user_id=person.user_id, enable=True)
        assert await refused(reset(door, second)) == "RESET_INVALID"


async def test_whoever_forgot_a_password_is_mailed_and_nobody_learns_who_there_is(door: Door, admin: Person) -> None:
    answers = []
    for email in (admin.email.upper(), f"{uuid4().hex}@example.com", "not an address", admin.email):
        request = auth_pb2.RequestPasswordResetRequest(email=email)
        answers.append(await door.auth.RequestPasswordReset(request, metadata=at(new_address())))
    assert len(set(map(str, answers))) == 1

    async def mailed() -> bool:
        return bool(door.ground.tokens_for(admin.email))

    await eventually(mailed)
    other = await door.admin()
    await door.auth.RequestPasswordReset(auth_pb2.RequestPasswordResetRequest(email=other.email))

    async def other_mailed() -> bool:
        return bool(door.ground.tokens_for(other.email))

    await eventually(other_mailed)
    (token,) = door.ground.tokens_for(admin.email)
    await reset(door, token)
    await door.login(admin.email, OTHER)


async def test_a_hash_of_another_cost_is_made_anew(ground: Ground, door: Door) -> None:
    admin = await door.admin()
    async with ground.server(argon2_memory_kib=128) as dearer:
        await dearer.login(admin.email)
    async with ground.owner() as owner:
        phc = await owner.fetchval("SELECT password_hash FROM users WHERE email = $1", admin.email)
        assert phc.startswith(Cost(128, 1).prefix)
    await door.login(admin.email)


async def test_hashing_holds_up_no_other_call(ground: Ground) -> None:
    async with ground.server(argon2_memory_kib=32768, argon2_passes=3) as door:
        logins = [asyncio.create_task(refused(door.login(f"{uuid4().hex}@x.example"))) for _ in range(4)]
        answered = 0
        while not all(task.done() for task in logins):
            await door.auth.GetJwks(auth_pb2.GetJwksRequest())
            answered += 1
        assert {task.result() for task in logins} == {"LOGIN_REFUSED"}
        assert answered > len(logins)


async def test_nobody_without_a_role_that_counts_for_it_reads_people(door: Door, admin: Person) -> None:
    person = await door.add(admin, access_pb2.ROLE_SUPPORT)
    assert await refused(person.call("ListUsers")) == "ACCESS_DENIED"
