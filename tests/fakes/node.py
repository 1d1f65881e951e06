"""A node's JSON-RPC over HTTP with faults: a server before a real node that hangs, refuses, breaks off or lies."""

import json
from collections import defaultdict, deque
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from aiohttp import ClientSession, web

from tests.fakes.served import Served

Answer = dict[str, Any]
Lie = Callable[[Answer], Answer]
"""Makes another answer of the node's, which has `result` or `error`."""


class Hang:
    """No answer comes for as long as the caller waits."""


class Disconnect:
    """The connection ends without an answer. `done`: the node did what it was asked."""

    def __init__(self, *, done: bool = False) -> None:
        self.done = done


class Status:
    """An HTTP status and a page instead of JSON-RPC."""

    def __init__(self, code: int) -> None:
        self.code = code


class Garbage:
    """HTTP 200 with half of a JSON text."""


NodeFault = Hang | Disconnect | Status | Garbage | Lie


class FaultyNode(Served):
    """Each call of a method meets the next fault planned for it, once; or the one that was set for good."""

    def __init__(self, url: str) -> None:
        super().__init__(web.post("/", self._handle))
        self._node = url
        self._planned: defaultdict[str, deque[NodeFault]] = defaultdict(deque)
        self._lasting: dict[str, NodeFault] = {}

    def plan(self, method: str, *faults: NodeFault) -> None:
        self._planned[method].extend(faults)

    def always(self, method: str, fault: NodeFault) -> None:
        self._lasting[method] = fault

    def spent(self) -> bool:
        return not any(self._planned.values())

    def heal(self) -> None:
        """Honest from now on."""
        self._planned.clear()
        self._lasting.clear()

    async def __aenter__(self) -> Self:
        self._session = ClientSession()
        return await super().__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await super().__aexit__(kind, error, trace)
        await self._session.close()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        method = json.loads(body)["method"]
        planned = self._planned[method]
        match planned.popleft() if planned else self._lasting.get(method):
            case Hang():
                await self.over.wait()
            case Disconnect(done=True):
                await self._ask(body)
            case Status(code=code):
                return web.Response(status=code, text="<html>later</html>")
            case Garbage():
                return web.Response(text='{"jsonrpc": "2.0", "id"', content_type="application/json")
            case None:
                return web.json_response(await self._ask(body))
            case Disconnect():
                pass
            case lie:
                return web.json_response(lie(await self._ask(body)))
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    async def _ask(self, body: bytes) -> Answer:
        async with self._session.post(self._node, data=body, headers={"content-type": "application/json"}) as response:
            answer: Answer = await response.json()
            return answer
