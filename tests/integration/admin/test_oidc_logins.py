"""Logging in by another provider, and everything that people try at that door."""

import asyncio
import base64
import hashlib
import json
import time
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

import grpc
import pytest
import pytest_asyncio
from voketag.admin.v1 import auth_pb2

from admin.second_factors import totp
from tests.fakes.clock import HandClock
from tests.integration.admin.oidc import DOMAIN, Client, Scene, entry, log_in, scene, settings
from tests.integration.admin.test_people import refused
from tests.integration.admin.world import PASSWORD, Door, Ground, Person, at, new_address
from tests.integration.factory.world import reason_of

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module", name="here")
async def _here(ground: Ground) -> AsyncIterator[Scene]:
    async with scene(ground) as here:
        yield here


async def links(ground: Ground, email: str) -> list[tuple[str, str]]:
    async with ground.owner() as owner:
        query = "SELECT issuer, subject FROM oidc_links JOIN users USING (user_id) WHERE email = $1 ORDER BY issuer"
        return [(row["issuer"], row["subject"]) for row in await owner.fetch(query, email)]


async def test_a_login_from_first_to_last(ground: Ground, here: Scene) -> None:
    email = await here.somebody()
    listed = await here.door.auth.ListOidcProviders(auth_pb2.ListOidcProvidersRequest())
    assert [(p.provider, p.name) for p in listed.providers] == [
        ("work", "The work provider"),
        ("other", "The other provider"),
    ]
    opened = await log_in(here.door)
    assert opened.user.email == email
    person = Person(here.door, email, opened.user.user_id, opened.tokens)
    assert (await person.me()).email == email
    assert await links(ground, email) == [(here.work.issuer, here.work.person["sub"])]
    here.work.person |= {"email": "elsewhere@example.com", "email_verified": False}
    assert (await log_in(here.door)).user.email == email, "a subject is who it was, whatever its email is now"
    async with ground.owner() as owner:
        rows = await owner.fetch(
            "SELECT method, resource, detail, actor_role, address_prefix FROM audit WHERE actor_id = $1"
            " ORDER BY position",
            opened.user.user_id,
        )
    assert {row["method"].rpartition("/")[2] for row in rows} == {"CompleteOidcLogin"}
    assert [row["resource"].partition("/")[0] for row in rows] == ["user", "session", "session"]
    assert json.loads(rows[0]["detail"]) == {"oidc_link": {"before": None, "after": here.work.issuer}}
    assert {row["actor_role"] for row in rows} == {"admin"}
    assert here.work.person["sub"] not in str([dict(row) for row in rows])


async def test_the_url_asks_for_what_it_should_and_the_database_cannot_complete(ground: Ground, here: Scene) -> None:
    await here.somebody()
    client = Client(here.door)
    begun = await client.begin()
    query = {name: values[0] for name, values in parse_qs(urlsplit(begun.authorization_url).query).items()}
    assert (query["response_type"], query["code_challenge_method"], query["scope"]) == ("code", "S256", "openid email")
    assert query["state"] == begun.state
    for secret in (begun.login_secret, hashlib.sha256(begun.login_secret.encode()).hexdigest()):
        assert secret not in begun.authorization_url
    async with ground.owner() as owner:
        rows = str([dict(row) for row in await owner.fetch("SELECT l::text FROM oidc_logins l")])
    assert not [word for word in (begun.state, begun.login_secret, query["nonce"]) if word in rows]
    assert begun.expire_time.seconds - time.time() == pytest.approx(600, abs=60)


async def test_a_login_is_good_once_for_its_client_and_its_provider(here: Scene) -> None:
    email = await here.somebody()
    client, thief = await Client(here.door).come_back(), await Client(here.door).come_back()
    stolen = client.fields | {"login_secret": thief.fields["login_secret"]}
    assert await refused(thief.complete(**stolen)) == "OIDC_STATE_INVALID"
    assert await refused(client.complete(state=thief.fields["state"])) == "OIDC_STATE_INVALID"
    assert await refused(client.complete(provider="other", issuer="")) == "OIDC_STATE_INVALID"
    for wrong in ("x", "\x00", "é" * 20, "A" * 43):
        assert await refused(client.complete(state=wrong)) == "OIDC_STATE_INVALID"
        assert await refused(client.complete(login_secret=wrong)) == "OIDC_STATE_INVALID"
    assert (await client.complete()).user.email == email, "nothing of that used it up"
    assert await refused(client.complete()) == "OIDC_STATE_INVALID"
    assert await refused(thief.complete(code=client.fields["code"])) == "OIDC_LOGIN_REFUSED", "a used code"
    assert await refused(thief.complete()) == "OIDC_STATE_INVALID", "which used up the login"


async def test_a_stolen_code_is_of_no_use_in_another_s_login(here: Scene) -> None:
    await here.somebody()
    victim, thief = await Client(here.door).come_back(), await Client(here.door).come_back()
    assert await refused(thief.complete(code=victim.fields["code"])) == "OIDC_LOGIN_REFUSED"


async def test_of_several_completions_at_once_one_is_answered(here: Scene) -> None:
    await here.somebody()
    client = await Client(here.door).come_back()
    results = await asyncio.gather(*(client.complete() for _ in range(6)), return_exceptions=True)
    assert len([r for r in results if not isinstance(r, BaseException)]) == 1
    assert here.work.asked.count("/token") == 1


async def test_first_logins_at_once_link_once(ground: Ground, here: Scene) -> None:
    email = await here.somebody()
    clients = [await Client(here.door).come_back() for _ in range(4)]
    answers = await asyncio.gather(*(client.complete() for client in clients))
    assert {answer.user.email for answer in answers} == {email}
    assert len(await links(ground, email)) == 1


async def test_ten_minutes_and_no_longer(ground: Ground) -> None:
    clock = HandClock()
    clock.seconds = time.time()
    async with scene(ground, clock) as here:
        await here.somebody()
        late, later = await Client(here.door).come_back(), await Client(here.door).come_back()
        clock.seconds += 599
        await late.complete()
        clock.seconds += 1
        assert await refused(later.complete()) == "OIDC_STATE_INVALID"
        clock.seconds += 1
        await here.door.parts.upkeep.run_once()
        async with ground.owner() as owner:
            state = hashlib.sha256(later.fields["state"].encode()).digest()
            assert not await owner.fetch("SELECT FROM oidc_logins WHERE state_hash = $1", state)


async def test_who_is_not_let_in_is_answered_like_the_unknown(ground: Ground, here: Scene) -> None:
    fresh = await here.somebody()
    email, admin = await here.somebody(), await here.door.admin()
    known = dict(here.work.person)
    user_id = (await log_in(here.door)).user.user_id
    answers = set()

    async def answer(**claims: Any) -> None:
        here.work.person = {name: value for name, value in (known | claims).items() if value is not None}
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await log_in(here.door)
        answers.add((error.value.code(), error.value.details(), reason_of(error.value)))

    await answer(sub="unknown", email=f"nobody@{DOMAIN}")
    await answer(sub="unverified", email=fresh, email_verified=False)
    await answer(sub="nearly verified", email=fresh, email_verified="true")
    await answer(sub="says nothing", email=fresh, email_verified=None)
    await answer(sub="no email", email=None)
    await answer(sub="another domain", email=admin.email)
    await answer(sub="the email passed to another", email=email)
    await answer(sub="é", email=fresh)
    await answer(sub="x" * 256, email=fresh)
    await answer(sub=7, email=fresh)
    here.work.person = known | {"sub": "verified", "email": fresh.upper()}
    assert (await log_in(here.door)).user.email == fresh
    await admin.call("DisableUser", user_id=user_id)
    await answer()
    await admin.call("DisableUser", user_id=user_id, enable=True)
    here.work.person = known
    await log_in(here.door)
    await admin.call("DeleteUser", user_id=user_id)
    await answer()
    assert len(answers) == 1, answers
    async with ground.owner() as owner:
        assert not await owner.fetch("SELECT FROM oidc_links WHERE user_id = $1::uuid", user_id)


async def test_a_disabled_person_is_linked_to_nothing(ground: Ground, here: Scene) -> None:
    email, admin = await here.somebody(), await here.door.admin()
    (user,) = (await admin.call("ListUsers", email=email)).users
    await admin.call("DisableUser", user_id=user.user_id)
    client = await Client(here.door).come_back()
    assert await refused(client.complete()) == "OIDC_LOGIN_REFUSED"
    assert await links(ground, email) == []
    await admin.call("DisableUser", user_id=user.user_id, enable=True)
    assert (await client.complete()).user.email == email, "the provider proved it already"


async def test_without_domains_nobody_is_linked_by_email(ground: Ground) -> None:
    async with scene(ground, email_domains=[]) as here:
        email = await here.somebody()
        assert await refused(log_in(here.door)) == "OIDC_LOGIN_REFUSED"
        assert await links(ground, email) == []


async def enrolled(door: Door, email: str, clock: HandClock) -> bytes:
    """The secret of a second factor that somebody has from now on."""
    person = await door.person(email)
    request = auth_pb2.EnrolSecondFactorRequest(password=PASSWORD)
    secret = base64.b32decode((await door.auth.EnrolSecondFactor(request, metadata=person.metadata)).secret)
    confirm = auth_pb2.ConfirmSecondFactorRequest(code=totp(secret, int(clock.seconds) // 30))
    await door.auth.ConfirmSecondFactor(confirm, metadata=person.metadata)
    clock.seconds += 60
    return secret


async def test_a_second_factor_is_asked_for_all_the_same(ground: Ground) -> None:
    clock = HandClock()
    clock.seconds = time.time()
    async with scene(ground, clock) as here:
        email = await here.somebody()
        secret = await enrolled(here.door, email, clock)
        client = await Client(here.door).come_back()
        assert await refused(client.complete()) == "SECOND_FACTOR_REQUIRED"
        assert await links(ground, email) == [], "nobody is linked before they proved themselves"
        assert await refused(client.complete(factor_code="000000x")) == "LOGIN_REFUSED"
        thief = await Client(here.door).come_back()
        code = totp(secret, int(clock.seconds) // 30)
        stolen = client.fields | {"login_secret": thief.fields["login_secret"], "factor_code": code}
        assert await refused(thief.complete(**stolen)) == "OIDC_STATE_INVALID"
        assert (await client.complete(factor_code=code)).user.email == email
        assert here.work.asked.count("/token") == 1, "the provider is asked once"
        assert await refused(client.complete(factor_code=code)) == "OIDC_STATE_INVALID"
        assert await links(ground, email) == [(here.work.issuer, here.work.person["sub"])]


async def test_codes_of_the_second_factor_cannot_be_tried_through(ground: Ground) -> None:
    clock = HandClock()
    clock.seconds = time.time()
    async with scene(ground, clock) as here:
        email = await here.somebody()
        secret = await enrolled(here.door, email, clock)
        first, second = await Client(here.door).come_back(), await Client(here.door).come_back()
        answers = [await refused(each.complete(factor_code=f"{n}x")) for n in range(4) for each in (first, second)]
        assert answers == ["LOGIN_REFUSED"] * 5 + ["LOGIN_LOCKED"] * 3
        clock.seconds += 120
        await second.complete(factor_code=totp(secret, int(clock.seconds) // 30))
        assert await refused(here.door.login(email)) == "SECOND_FACTOR_REQUIRED", "the password's door stayed open"


async def test_an_address_that_fails_often_has_to_wait(here: Scene) -> None:
    email = await here.somebody()
    client = await Client(here.door).come_back()
    answers = [await refused(client.complete(state=uuid4().hex)) for _ in range(32)]
    assert answers[:30] == ["OIDC_STATE_INVALID"] * 30
    assert "LOGIN_LOCKED" in answers[30:]
    client.address = new_address()
    assert (await client.complete()).user.email == email


async def test_requests_that_name_nothing_are_refused(here: Scene) -> None:
    assert await refused(Client(here.door, "nobody").begin()) == "OIDC_PROVIDER_NOT_FOUND"
    assert await refused(Client(here.door, "").begin()) == "VALIDATION_FAILED"
    assert await refused(Client(here.door, "x" * 33).begin()) == "VALIDATION_FAILED"
    whole = {"provider": "work", "state": "s", "login_secret": "l", "code": "c"}
    for name, value in (("state", ""), ("login_secret", ""), ("code", ""), ("provider", ""), ("code", "x" * 4097)):
        request = auth_pb2.CompleteOidcLoginRequest(**(whole | {name: value}))
        call = here.door.auth.CompleteOidcLogin(request, metadata=at(new_address()))
        assert await refused(call) == "VALIDATION_FAILED", name
    assert await refused(Client(here.door, fields=whole | {"provider": "nobody"}).complete()) == (
        "OIDC_PROVIDER_NOT_FOUND"
    )


async def test_no_provider_is_the_default(door: Door) -> None:
    listed = await door.auth.ListOidcProviders(auth_pb2.ListOidcProvidersRequest())
    assert not listed.providers
    assert await refused(Client(door).begin()) == "OIDC_PROVIDER_NOT_FOUND"


async def test_a_server_that_dies_after_the_proof_loses_nothing(ground: Ground) -> None:
    """Another process, here another server on the same database, goes on from what was committed."""
    clock = HandClock()
    clock.seconds = time.time()
    async with scene(ground, clock) as here:
        email = await here.somebody()
        secret = await enrolled(here.door, email, clock)
        client = await Client(here.door).come_back()
        assert await refused(client.complete()) == "SECOND_FACTOR_REQUIRED"
        async with ground.server(clock=clock, **settings(entry(ground, here.work))) as other:
            client.door = other
            opened = await client.complete(factor_code=totp(secret, int(clock.seconds) // 30))
            assert opened.user.email == email
