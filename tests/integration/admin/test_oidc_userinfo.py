"""Providers whose ID tokens say nothing of an email: UserInfo is asked, once, of who is linked to nobody yet."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web

from tests.fakes.oidc_provider import Claims
from tests.integration.admin.oidc import Client, Scene, log_in, scene
from tests.integration.admin.test_people import refused
from tests.integration.admin.world import Ground

pytestmark = pytest.mark.asyncio(loop_scope="module")
USERINFO = "/userinfo"


@pytest_asyncio.fixture(loop_scope="module", name="here")
async def _here(ground: Ground) -> AsyncIterator[Scene]:
    async with scene(ground) as here:
        here.work.reticent = True
        await here.somebody()
        yield here


async def test_the_email_of_userinfo_links_and_is_asked_for_once(here: Scene) -> None:
    email = here.work.person["email"]
    assert (await log_in(here.door)).user.email == email
    assert here.work.asked.count(USERINFO) == 1
    here.work.away.add(USERINFO)
    assert (await log_in(here.door)).user.email == email
    assert here.work.asked.count(USERINFO) == 1, "who is linked needs no email"


@pytest.mark.parametrize("left_out", ["email", "email_verified"])
async def test_it_is_asked_when_either_claim_is_left_out(here: Scene, left_out: str) -> None:
    here.work.reticent = False
    here.work.claims = lambda claims: {name: value for name, value in claims.items() if name != left_out}
    await log_in(here.door)
    assert here.work.asked.count(USERINFO) == 1


@pytest.mark.parametrize(("email", "verified"), [("known", False), ("of another domain", True), ("known", None)])
async def test_what_the_id_token_says_of_the_email_counts(here: Scene, email: str, verified: bool | None) -> None:
    here.work.reticent = False
    said = {"email": here.work.person["email"] if email == "known" else "ada@elsewhere.example"}
    here.work.claims = lambda claims: claims | said | {"email_verified": verified}
    assert await refused(log_in(here.door)) == "OIDC_LOGIN_REFUSED"
    assert USERINFO not in here.work.asked


PEOPLE: dict[str, Callable[[Claims], Any]] = {
    "somebody else": lambda p: p | {"sub": "another"},
    "somebody else in another case": lambda p: p | {"sub": p["sub"].upper() + "A"},
    "nobody": lambda p: {name: value for name, value in p.items() if name != "sub"},
    "a list of subjects": lambda p: p | {"sub": [p["sub"]]},
    "an email that nobody verified": lambda p: p | {"email_verified": False},
    "nearly verified": lambda p: p | {"email_verified": "true"},
    "verified without being said": lambda p: {"sub": p["sub"], "email": p["email"]},
    "no email": lambda p: {"sub": p["sub"], "email_verified": True},
    "an email of another domain": lambda p: p | {"email": "ada@elsewhere.example"},
    "an email of two lines": lambda p: p | {"email": p["email"] + "\n"},
    "an email of another type": lambda p: p | {"email": [p["email"]]},
}


@pytest.mark.parametrize("bent", PEOPLE.values(), ids=PEOPLE)
async def test_what_userinfo_says_of_nobody_who_may_log_in(here: Scene, bent: Callable[[Claims], Any]) -> None:
    here.work.userinfo = lambda person: web.json_response(bent(person))
    client = await Client(here.door).come_back()
    assert await refused(client.complete()) == "OIDC_LOGIN_REFUSED"
    here.work.userinfo = web.json_response
    await log_in(here.door)


@pytest.mark.parametrize("fault", ["away", "slow", "moved", "huge"])
async def test_what_is_away_uses_the_login_up(here: Scene, fault: str) -> None:
    client = await Client(here.door).come_back()
    getattr(here.work, fault).add(USERINFO)
    assert await refused(client.complete()) == "DEPENDENCY_UNAVAILABLE"
    getattr(here.work, fault).clear()
    assert await refused(client.complete()) == "OIDC_STATE_INVALID"
    await log_in(here.door)
    assert "/elsewhere" not in here.work.asked, "nobody is followed"


ANSWERS: dict[str, Callable[[Claims], web.Response]] = {
    "HTML": lambda p: web.Response(text="<html>log in</html>", content_type="text/html"),
    "a JWT": lambda p: web.Response(text="e30.e30.", content_type="application/jwt"),
    "a list": lambda p: web.json_response([p]),
    "nothing": lambda p: web.Response(),
    "depth": lambda p: web.Response(text="[" * 60_000),
    "401": lambda p: web.json_response({"error": "invalid_token"}, status=401),
    "401 and whom it is about": lambda p: web.json_response(p, status=401),
    "403": lambda p: web.json_response({"error": "insufficient_scope"}, status=403),
    "404 and HTML": lambda p: web.Response(text="<html>", content_type="text/html", status=404),
}


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
async def test_an_answer_that_is_none(here: Scene, answer: Callable[[Claims], web.Response]) -> None:
    here.work.userinfo = answer
    assert await refused(log_in(here.door)) == "DEPENDENCY_UNAVAILABLE"
    here.work.userinfo = web.json_response
    await log_in(here.door)


async def test_a_provider_without_userinfo_has_its_id_tokens_alone(ground: Ground) -> None:
    async with scene(ground) as here:
        here.work.metadata = lambda m: {name: value for name, value in m.items() if name != "userinfo_endpoint"}
        here.work.reticent = True
        await here.somebody()
        assert await refused(log_in(here.door)) == "OIDC_LOGIN_REFUSED"
        here.work.reticent = False
        await log_in(here.door)
        assert USERINFO not in here.work.asked


async def test_without_domains_nobody_asks(ground: Ground) -> None:
    async with scene(ground, email_domains=[]) as here:
        here.work.reticent = True
        await here.somebody()
        assert await refused(log_in(here.door)) == "OIDC_LOGIN_REFUSED"
        assert USERINFO not in here.work.asked


@pytest.mark.parametrize("url", ["http://elsewhere.example/userinfo", "file:///etc/passwd", "", 7, None])
async def test_userinfo_is_asked_over_https_or_not_at_all(ground: Ground, url: object) -> None:
    async with scene(ground) as here:
        here.work.metadata = lambda metadata: metadata | {"userinfo_endpoint": url}
        assert await refused(Client(here.door).begin()) == "DEPENDENCY_UNAVAILABLE"
