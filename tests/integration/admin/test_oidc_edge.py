"""A login by a provider as a web client makes it: JSON, through Envoy, before the real admin service."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiohttp
import pytest
import pytest_asyncio

from mesh.edge.configuration import Address, EdgeSettings, render
from mesh.local.envoy import EnvoyServer
from mesh.local.ports import LOOPBACK
from tests.acceptance.edge.door import Door as JsonDoor
from tests.acceptance.edge.shape import assert_error
from tests.acceptance.edge.upstream import SERVICES
from tests.integration.admin.oidc import Scene, browse, scene
from tests.integration.admin.world import Ground
from tests.servers import free_port

pytestmark = pytest.mark.asyncio(loop_scope="module")
LOGIN = "/v1/auth/oidc"


@pytest_asyncio.fixture(loop_scope="module", name="here")
async def _here(ground: Ground) -> AsyncIterator[Scene]:
    async with scene(ground) as here:
        yield here


@pytest_asyncio.fixture(loop_scope="module", name="edge")
async def _edge(here: Scene, tmp_path: Path) -> AsyncIterator[JsonDoor]:
    """Envoy, behind which the admin service is the only one."""
    public, internal, control = (Address(LOOPBACK, free_port()) for _ in range(3))
    upstreams = {name: Address(LOOPBACK, free_port()) for name in SERVICES}
    upstreams["admin"] = Address(LOOPBACK, here.door.parts.server.port)
    config = tmp_path / "envoy.yaml"
    config.write_text(render(EdgeSettings(public=public, internal=internal, admin=control, upstreams=upstreams)))
    envoy = EnvoyServer(config, control.port, log=tmp_path / "envoy.log", ports=(public.port, internal.port))
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(envoy)
        yield JsonDoor(public, await stack.enter_async_context(aiohttp.ClientSession()))


async def begun(edge: JsonDoor) -> dict[str, Any]:
    """What a client sends to complete a login that it began."""
    reply = await edge.call("POST", f"{LOGIN}/begin", json={"provider": "work"})
    assert reply.status == 200, reply
    back = await browse(reply.json["authorizationUrl"])
    assert (back["state"], back["iss"] != "") == (reply.json["state"], True)
    secret = reply.json["loginSecret"]
    return {
        "provider": "work",
        "state": back["state"],
        "loginSecret": secret,
        "code": back["code"],
        "issuer": back["iss"],
    }


async def test_a_session_as_json(here: Scene, edge: JsonDoor) -> None:
    email = await here.somebody()
    listed = await edge.call("GET", f"{LOGIN}/providers")
    assert listed.json["providers"][0] == {"provider": "work", "name": "The work provider"}
    whole = await begun(edge)
    opened = await edge.call("POST", f"{LOGIN}/complete", json=whole)
    assert (opened.status, opened.json["user"]["email"]) == (200, email)
    bearer = {"authorization": f"Bearer {opened.json['tokens']['accessToken']}"}
    assert (await edge.call("GET", "/v1/auth/me", headers=bearer)).json["user"]["email"] == email
    refresh = {"refreshToken": opened.json["tokens"]["refreshToken"]}
    assert (await edge.call("POST", "/v1/auth/refresh", json=refresh)).status == 200
    path = f"/v1/admin/users/{opened.json['user']['userId']}/oidc-links"
    (link,) = (await edge.call("GET", path, headers=bearer)).json["links"]
    assert (link["issuer"], link["subject"]) == (here.work.issuer, here.work.person["sub"])
    again = await edge.call("POST", f"{LOGIN}/complete", json=whole)
    assert_error(again, status=400, code=9, reason="OIDC_STATE_INVALID")
    for way, more in (("/remove", {"issuer": link["issuer"]}), ("", {"provider": "work", "subject": "new"})):
        changed = await edge.call("POST", path + way, json={"requestId": str(uuid4())} | more, headers=bearer)
        assert changed.status == 200, changed
    nobody = await edge.call("GET", path)
    assert_error(nobody, status=401, code=16, reason="CREDENTIALS_MISSING")


async def test_refusals_as_json(here: Scene, edge: JsonDoor) -> None:
    await here.somebody(email_verified=False)
    refused = await edge.call("POST", f"{LOGIN}/complete", json=await begun(edge))
    assert_error(refused, status=401, code=16, reason="OIDC_LOGIN_REFUSED")
    unknown = await edge.call("POST", f"{LOGIN}/begin", json={"provider": "nobody"})
    assert_error(unknown, status=404, code=5, reason="OIDC_PROVIDER_NOT_FOUND")
    here.work.away.add("/token")
    away = await edge.call("POST", f"{LOGIN}/complete", json=await begun(edge))
    assert_error(away, status=503, code=14, reason="DEPENDENCY_UNAVAILABLE")
    here.work.away.clear()
    misspelt = await edge.call("POST", f"{LOGIN}/complete", json=await begun(edge) | {"secret": "x"})
    assert_error(misspelt, status=400, code=3, reason="REQUEST_REFUSED")
