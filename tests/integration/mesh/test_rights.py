"""Every method of every service, called as every role, as a factory, as every service and as nobody.

What docs/access.md says of it is what happens. The table comes from the contract, and the steps are the server's.
"""

import hashlib
import os
import re
from collections.abc import AsyncIterator, Mapping
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any
from uuid import UUID

import grpc
import pytest
import pytest_asyncio
from google.protobuf.message_factory import GetMessageClass

from mesh.api_keys import ApiKeyAuthenticator, Credentials
from mesh.clock import SystemClock
from mesh.config import ServerSettings
from mesh.contract import Method, methods
from mesh.errors import NotLogged
from mesh.identity import ServiceAuthenticator, ServiceTokens
from mesh.local.secrets import SERVICES, Secrets
from mesh.policy import FACTORY, SERVICE, USER
from mesh.server import Server, ServerParts
from mesh.user_tokens import ROLES, UserAuthenticator
from tests.fakes.boundless import Boundless
from tests.fakes.people import JWKS, access_token
from tests.servers import free_port

ONCE: dict[str, Any] = {"scope": "module", "loop_scope": "module"}
pytestmark = pytest.mark.asyncio(loop_scope="module")
TABLE = Path(__file__).resolve().parents[3] / "docs" / "access.md"
SECRET = "s" * 43
ROW = re.compile(r"^\| `([^`]+)` \| [^|]+ \| ([^|]+) \| ([^|]+) \| ([^|]+) \|", re.MULTILINE)


def table() -> dict[str, tuple[set[str], set[str], set[str]]]:
    """Callers, peers and roles by method."""
    cells = {name: rest for name, *rest in ROW.findall(TABLE.read_text())}
    return {f"/{name}": tuple(set(re.findall(r"\w+", cell)) for cell in rest) for name, rest in cells.items()}  # type: ignore[misc]


def handler(method: Method) -> "grpc.RpcMethodHandler[Any, Any]":
    """Answers every call that gets so far with NOT_LOGGED."""

    async def unary(_request: Any, _context: Any) -> Any:
        raise NotLogged

    async def stream(_request: Any, _context: Any) -> AsyncIterator[Any]:
        raise NotLogged
        yield

    kind = f"{'stream' if method.policy.request_streaming else 'unary'}_" + (
        "stream" if method.policy.response_streaming else "unary"
    )
    make = getattr(grpc, f"{kind}_rpc_method_handler")
    message = GetMessageClass(method.descriptor.input_type)
    return make(
        stream if method.policy.response_streaming else unary,
        request_deserializer=message.FromString,
        response_serializer=lambda answer: answer.SerializeToString(),
    )


def register(service: str) -> Any:
    handlers = {str(m.descriptor.name): handler(m) for m in methods() if m.service == service}
    return lambda _servicer, registrar: registrar.add_registered_method_handlers(service, handlers)


def contracts() -> list[ModuleType]:
    files = {m.descriptor.containing_service.file.name for m in methods()}
    return [import_module(name.removesuffix(".proto").replace("/", ".") + "_pb2") for name in sorted(files)]


async def _find(prefix: str) -> Credentials | None:
    return Credentials(UUID(int=1), UUID(int=2), hashlib.sha256(SECRET.encode()).digest())


@pytest_asyncio.fixture(**ONCE)
async def callers(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, tuple[tuple[str, str], ...]]:
    """The metadata of each kind of caller."""
    secrets = Secrets(tmp_path_factory.mktemp("rights"), os.urandom)
    secrets.make()
    bearer = {f"user {role}": access_token(role) for role in ROLES}
    for service in SERVICES:
        tokens = ServiceTokens(service, secrets.identity(service).read_text(), SystemClock())
        bearer[f"service {service}"] = tokens.token("rights")
    known = {name: (("authorization", f"Bearer {token}"),) for name, token in bearer.items()}
    keys = secrets.jwks.read_text()
    return {"nobody": (), "factory": (("x-api-key", f"vk_abcdefgh_{SECRET}"),), "keys": (("", keys),)} | known


@pytest_asyncio.fixture(**ONCE)
async def channel(callers: Mapping[str, Any]) -> AsyncIterator[grpc.aio.Channel]:
    clock = SystemClock()
    settings = ServerSettings(listen_host="127.0.0.1", listen_port=free_port(), drain_seconds=0, grace_seconds=1)
    parts = ServerParts(
        settings=settings,
        contracts=contracts(),
        register=[(register(service), object()) for service in sorted({m.service for m in methods()})],
        authenticators={
            USER: UserAuthenticator(JWKS, clock),
            FACTORY: ApiKeyAuthenticator(_find, clock),
            SERVICE: ServiceAuthenticator(callers["keys"][0][1], "rights", clock),
        },
        limiter=Boundless(),
    )
    server = Server(parts)
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as opened:
            yield opened
    finally:
        await server.stop()


async def reason(channel: grpc.aio.Channel, method: Method, metadata: Any) -> str:
    """Why the call fails, as it always does. On a stream nothing is written: that would race with the refusal."""
    from tests.integration.factory.world import reason_of

    kind = ("stream" if method.policy.request_streaming else "unary") + (
        "_stream" if method.policy.response_streaming else "_unary"
    )
    requests = () if method.policy.request_streaming else (b"",)
    call = getattr(channel, kind)(method.policy.method, lambda body: body, lambda body: body)
    answer = call(*requests, metadata=metadata, timeout=20)
    with pytest.raises(grpc.aio.AioRpcError) as error:
        if method.policy.response_streaming:
            async for _ in answer:
                pass
        else:
            await answer
    return reason_of(error.value)


def expected(row: tuple[set[str], set[str], set[str]], caller: str) -> str:
    """What the table says: '' when the caller is let in."""
    kinds, peers, roles = row
    kind, _, name = caller.partition(" ")
    if "public" in kinds:
        return ""
    if kind == "nobody":
        return "CREDENTIALS_MISSING"
    among = {"factory": True, "service": name in peers, "user": name in roles}[kind]
    return "" if kind in kinds and among else "ACCESS_DENIED"


async def test_every_method_lets_in_whom_the_table_names_and_nobody_else(
    channel: grpc.aio.Channel, callers: Mapping[str, Any]
) -> None:
    rows, wrong, refused = table(), [], 0
    assert set(rows) == {method.policy.method for method in methods()}
    assert {"nobody", "factory", "user admin", "user auditor", "user support", "service scan"} <= set(callers)
    for method in methods():
        for caller, metadata in callers.items():
            if caller == "keys":
                continue
            got = await reason(channel, method, metadata)
            want = expected(rows[method.policy.method], caller)
            refused += bool(want)
            if (want or got) != got or (not want and got.startswith(("CREDENTIALS", "ACCESS"))):
                wrong.append((method.policy.method, caller, want, got))
    assert not wrong
    assert refused > len(rows)
