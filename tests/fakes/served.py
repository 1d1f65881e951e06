"""HTTP servers of tests, from the beginning of a block to its end."""

import asyncio
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

from aiohttp import web


class Served:
    """Answers at `url` on a port of its own; `over` is set at the end, so that whoever hangs on purpose goes on."""

    def __init__(self, *routes: web.RouteDef, middlewares: Sequence[Any] = ()) -> None:
        self.url = ""
        self.over = asyncio.Event()
        self._routes = routes
        self._middlewares = middlewares

    async def __aenter__(self) -> Self:
        app = web.Application(middlewares=self._middlewares)
        app.router.add_routes(self._routes)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.over.set()
        await self._runner.cleanup()
