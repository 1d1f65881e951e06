"""Providers that are away, slow, wrong or another: the login fails with a name, and what was not used up goes on."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import pytest_asyncio

from tests.fakes.clock import HandClock
from tests.fakes.oidc_provider import Claims
from tests.integration.admin.oidc import Client, Scene, log_in, scene
from tests.integration.admin.test_people import refused
from tests.integration.admin.world import Ground
from tests.integration.factory.world import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")
DISCOVERY = "/.well-known/openid-configuration"
FAULTS = ("away", "slow", "moved", "huge")


@pytest_asyncio.fixture(loop_scope="module", name="clock")
async def _clock() -> HandClock:
    clock = HandClock()
    clock.seconds = time.time()
    return clock


@pytest_asyncio.fixture(loop_scope="module", name="here")
async def _here(ground: Ground, clock: HandClock) -> AsyncIterator[Scene]:
    async with scene(ground, clock) as here:
        await here.somebody()
        yield here


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("path", [DISCOVERY, "/jwks"])
async def test_what_is_away_when_a_login_begins_says_so(here: Scene, clock: HandClock, fault: str, path: str) -> None:
    clock.seconds += 3600
    getattr(here.work, fault).add(path)
    assert await refused(Client(here.door).begin()) == "DEPENDENCY_UNAVAILABLE"
    getattr(here.work, fault).clear()
    clock.seconds += 2
    await log_in(here.door)


@pytest.mark.parametrize("fault", FAULTS)
async def test_what_is_away_when_the_login_is_completed_uses_nothing_up(
    here: Scene, clock: HandClock, fault: str
) -> None:
    await Client(here.door).begin()
    clock.seconds += 3300
    client = await Client(here.door).come_back()
    clock.seconds += 300
    getattr(here.work, fault).add(DISCOVERY)
    assert await refused(client.complete()) == "DEPENDENCY_UNAVAILABLE"
    getattr(here.work, fault).clear()
    clock.seconds += 2
    await client.complete()


@pytest.mark.parametrize("fault", FAULTS)
async def test_what_is_away_when_the_code_is_sent_uses_the_login_up(here: Scene, fault: str) -> None:
    client = await Client(here.door).come_back()
    getattr(here.work, fault).add("/token")
    assert await refused(client.complete()) == "DEPENDENCY_UNAVAILABLE"
    getattr(here.work, fault).clear()
    assert await refused(client.complete()) == "OIDC_STATE_INVALID"
    await log_in(here.door)
    assert "/elsewhere" not in here.work.asked, "nobody is followed"


async def test_whoever_goes_while_the_provider_is_asked_begins_again(here: Scene) -> None:
    """As when the process dies then: the login is taken, and nobody knows what became of the code."""
    client = await Client(here.door).come_back()
    here.work.slow.add("/token")
    completing = asyncio.create_task(client.complete())

    async def is_asked() -> bool:
        return "/token" in here.work.asked

    await eventually(is_asked)
    completing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await completing
    here.work.slow.clear()
    assert await refused(client.complete()) == "OIDC_STATE_INVALID"
    await log_in(here.door)


async def test_a_provider_s_faults_keep_no_address_out(here: Scene) -> None:
    here.work.away.add("/token")
    address = Client(here.door).address
    for _ in range(35):
        client = await Client(here.door, address=address).come_back()
        assert await refused(client.complete()) == "DEPENDENCY_UNAVAILABLE"
    here.work.away.clear()
    await (await Client(here.door, address=address).come_back()).complete()


async def test_many_who_wait_for_a_slow_provider_wait_once(here: Scene, clock: HandClock) -> None:
    clock.seconds += 7200
    here.work.slow.add(DISCOVERY)
    before = here.work.asked.count(DISCOVERY)
    answers = await asyncio.gather(*(refused(Client(here.door).begin()) for _ in range(10)))
    assert set(answers) == {"DEPENDENCY_UNAVAILABLE"}
    assert here.work.asked.count(DISCOVERY) == before + 1
    here.work.slow.clear()
    clock.seconds += 2
    await log_in(here.door)


METADATA: dict[str, Callable[[Claims], Any]] = {
    "another issuer's": lambda m: m | {"issuer": "https://elsewhere.example"},
    "no issuer's": lambda m: {n: v for n, v in m.items() if n != "issuer"},
    "a list": lambda m: [m],
    "no token endpoint": lambda m: {n: v for n, v in m.items() if n != "token_endpoint"},
    "in the clear elsewhere": lambda m: m | {"token_endpoint": "http://elsewhere.example/token"},
    "with a name in it": lambda m: m | {"jwks_uri": m["jwks_uri"].replace("//", "//a:b@")},
    "a file": lambda m: m | {"jwks_uri": "file:///etc/passwd"},
    "a number": lambda m: m | {"authorization_endpoint": 7},
    "plain challenges alone": lambda m: m | {"code_challenge_methods_supported": ["plain"]},
    "challenges of another type": lambda m: m | {"code_challenge_methods_supported": 7},
    "no client secrets": lambda m: m | {"token_endpoint_auth_methods_supported": ["private_key_jwt", {}]},
}


@pytest.mark.parametrize("bent", METADATA.values(), ids=METADATA)
async def test_metadata_that_cannot_be_used(here: Scene, clock: HandClock, bent: Callable[[Claims], Any]) -> None:
    clock.seconds += 3600
    here.work.metadata = bent
    assert await refused(Client(here.door).begin()) == "DEPENDENCY_UNAVAILABLE"
    here.work.metadata = lambda metadata: metadata
    clock.seconds += 2
    await log_in(here.door)


@pytest.mark.parametrize("methods", [["client_secret_post"], ["client_secret_post", "client_secret_basic"]])
async def test_the_secret_goes_where_the_provider_takes_it(here: Scene, clock: HandClock, methods: list[str]) -> None:
    clock.seconds += 3600
    here.work.metadata = lambda metadata: metadata | {"token_endpoint_auth_methods_supported": methods}
    await log_in(here.door)
    here.work.metadata = lambda metadata: metadata
    clock.seconds += 3600


async def test_a_secret_that_the_provider_does_not_know_is_our_fault(ground: Ground) -> None:
    wrong = ground.folder / "wrong-secret"
    wrong.write_text("not it")
    async with scene(ground, client_secret_file=str(wrong)) as here:
        await here.somebody()
        assert await refused(log_in(here.door)) == "DEPENDENCY_UNAVAILABLE"


async def test_a_code_of_another_provider_is_given_to_none(here: Scene) -> None:
    """The mix-up attack (RFC 9207): the other provider's redirect brings a code that it wants to be shown."""
    client, other = await Client(here.door).come_back(), await Client(here.door, "other").come_back()
    assert client.fields["issuer"] == here.work.issuer
    before = here.work.asked.count("/token")
    mixed = {"code": other.fields["code"], "issuer": other.fields["issuer"]}
    assert await refused(client.complete(**mixed)) == "OIDC_LOGIN_REFUSED"
    assert await refused(client.complete(issuer=here.work.issuer + "/")) == "OIDC_LOGIN_REFUSED"
    assert here.work.asked.count("/token") == before
    await client.complete()


async def test_an_issuer_is_missed_where_it_is_promised_alone(here: Scene, clock: HandClock) -> None:
    here.work.redirects = lambda query: {name: value for name, value in query.items() if name != "iss"}
    await log_in(here.door)
    clock.seconds += 3600
    here.work.metadata = lambda m: m | {"authorization_response_iss_parameter_supported": True}
    assert await refused(log_in(here.door)) == "OIDC_LOGIN_REFUSED"
    here.work.redirects = lambda query: query
    await log_in(here.door)
    here.work.metadata = lambda metadata: metadata
    clock.seconds += 3600
