"""A live Envoy on the rendered configuration, before canned services."""

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from mesh.edge.configuration import Address, EdgeSettings, render
from mesh.local.envoy import EnvoyServer
from mesh.local.ports import LOOPBACK
from tests.acceptance.edge.upstream import SERVICES, Canned, serving, silent
from tests.servers import free_port

SHOP = "https://shop.example"
REQUEST_SECONDS = 2.0


@dataclass(frozen=True)
class Reply:
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Door:
    """A way in: `target` for gRPC, and JSON calls."""

    address: Address
    http: aiohttp.ClientSession
    scheme: str = "http"

    @property
    def target(self) -> str:
        return f"{self.address.host}:{self.address.port}"

    async def call(self, method: str, path: str, **options: Any) -> Reply:
        url = f"{self.scheme}://{self.target}{path}"
        async with self.http.request(method, url, **options) as response:
            headers = {key.lower(): value for key, value in response.headers.items()}
            return Reply(response.status, headers, await response.read())


@dataclass(frozen=True)
class Edge:
    """Envoy's two doors, what stands behind them, and its log."""

    public: Door
    internal: Door
    canned: Canned
    log: Path


@asynccontextmanager
async def open_edge(folder: Path, *, away: str = "", hanging: str = "", **settings: Any) -> AsyncIterator[Edge]:
    """Envoy before the canned services; nobody listens for the service `away`, and `hanging` never answers."""
    canned = Canned()
    async with AsyncExitStack() as stack:
        upstreams = {}
        for name in SERVICES:
            server = silent() if name == hanging else serving(canned, name)
            port = free_port() if name == away else await stack.enter_async_context(server)
            upstreams[name] = Address(LOOPBACK, port)
        public, internal, admin = (Address(LOOPBACK, free_port()) for _ in range(3))
        known: dict[str, Any] = {
            "health_seconds": 0.25,
            "unary_seconds": REQUEST_SECONDS,
            "origins": (SHOP,),
        } | settings
        chosen = EdgeSettings(public=public, internal=internal, admin=admin, upstreams=upstreams, **known)
        config = folder / "envoy.yaml"
        config.write_text(render(chosen))
        log = folder / "envoy.log"
        envoy = EnvoyServer(config, admin.port, log=log, ports=(public.port, internal.port))
        await stack.enter_async_context(envoy)
        http = await stack.enter_async_context(aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=False)))
        scheme = "https" if chosen.tls else "http"
        yield Edge(Door(public, http, scheme), Door(internal, http), canned, log)
