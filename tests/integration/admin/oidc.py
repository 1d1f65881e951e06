"""People who log in by a provider: what their client sends, and what their browser follows."""

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlsplit
from uuid import uuid4

from aiohttp import ClientSession
from voketag.admin.v1 import auth_pb2

from mesh.clock import Clock
from tests.fakes.oidc_provider import CLIENT_ID, CLIENT_SECRET, REDIRECT_URI, OidcProvider
from tests.integration.admin.world import Door, Ground, at, new_address

DOMAIN = "work.example"


def entry(ground: Ground, provider: OidcProvider, name: str = "work", **changes: Any) -> dict[str, Any]:
    """A provider as the settings have it."""
    file = ground.folder / "oidc-secret"
    file.write_text(CLIENT_SECRET + "\n")
    return {
        "id": name,
        "name": f"The {name} provider",
        "issuer": provider.issuer,
        "client_id": CLIENT_ID,
        "client_secret_file": str(file),
        "redirect_uri": REDIRECT_URI,
        "email_domains": [DOMAIN],
    } | changes


def settings(*entries: dict[str, Any]) -> dict[str, Any]:
    return {"oidc_allow_loopback": True, "oidc_providers": json.dumps(entries)}


@dataclass
class Scene:
    """A server with two providers, `work` and `other`."""

    door: Door
    work: OidcProvider
    other: OidcProvider

    async def somebody(self, **claims: Any) -> str:
        """A new admin here, whom `work` knows, by a subject that nobody is linked to yet; their email."""
        email = f"ada-{uuid4().hex[:12]}@{DOMAIN}"
        await self.door.maker.create(email, "Ada", "correct horse battery staple")
        self.work.person = {"sub": uuid4().hex, "email": email, "email_verified": True} | claims
        return email


@asynccontextmanager
async def scene(ground: Ground, clock: Clock | None = None, **changes: Any) -> AsyncIterator[Scene]:
    """`changes` are to the settings of `work`."""
    async with AsyncExitStack() as stack:
        work, other = OidcProvider(), OidcProvider()
        for provider in (work, other):
            await stack.enter_async_context(provider)
            if clock is not None:
                provider.now = lambda: clock.now().timestamp()
        both = settings(entry(ground, work, **changes), entry(ground, other, "other"))
        door = await stack.enter_async_context(ground.server(clock=clock, **both))
        yield Scene(door, work, other)


async def browse(url: str) -> dict[str, str]:
    """What the redirect brings back when somebody follows the URL."""
    async with ClientSession() as session, session.get(url, allow_redirects=False) as response:
        assert response.status == 302, await response.text()
        location = response.headers["location"]
    assert location.startswith(REDIRECT_URI + "?")
    return dict(parse_qsl(urlsplit(location).query))


@dataclass
class Client:
    """Who begins and completes a login; `fields` is what it sends next."""

    door: Door
    provider: str = "work"
    address: str = field(default_factory=new_address)
    fields: dict[str, str] = field(default_factory=dict)

    async def begin(self) -> auth_pb2.BeginOidcLoginResponse:
        request = auth_pb2.BeginOidcLoginRequest(provider=self.provider)
        begun: auth_pb2.BeginOidcLoginResponse = await self.door.auth.BeginOidcLogin(request, metadata=at(self.address))
        return begun

    async def come_back(self) -> "Client":
        """Begins, and follows the URL to its end."""
        begun = await self.begin()
        back = await browse(begun.authorization_url)
        assert back["state"] == begun.state
        secret = begun.login_secret
        self.fields = {"provider": self.provider, "state": back["state"], "login_secret": secret, "code": back["code"]}
        self.fields["issuer"] = back.get("iss", "")
        return self

    async def complete(self, **changes: str) -> auth_pb2.CompleteOidcLoginResponse:
        request = auth_pb2.CompleteOidcLoginRequest(**(self.fields | changes))
        answer: auth_pb2.CompleteOidcLoginResponse = await self.door.auth.CompleteOidcLogin(
            request, metadata=at(self.address), timeout=20
        )
        return answer


async def log_in(door: Door, provider: str = "work") -> auth_pb2.CompleteOidcLoginResponse:
    """From the first to the last."""
    return await (await Client(door, provider).come_back()).complete()
