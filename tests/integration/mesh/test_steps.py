"""The steps hold around every call shape: one real server, one handler of each shape, every way to end."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from datetime import datetime
from typing import Any

import grpc
import pytest
from google.protobuf.wrappers_pb2 import StringValue
from google.rpc import error_details_pb2, status_pb2

from mesh import audit
from mesh.clock import SystemClock
from mesh.errors import BatchNotFound, CredentialsInvalid, DependencyUnavailable
from mesh.identity import Authenticator, Principal, address, caller
from mesh.interceptors.access import AccessStep
from mesh.interceptors.audit import AuditStep
from mesh.interceptors.deadline import DeadlineStep
from mesh.interceptors.errors import STATUS_KEY, ErrorsStep
from mesh.interceptors.limits import LimitsStep
from mesh.interceptors.step import compose
from mesh.interceptors.telemetry import TelemetryStep
from mesh.interceptors.validation import ValidationStep
from mesh.limits import LocalLimiter, Rate
from mesh.policy import FACTORY, PUBLIC, SERVICE, Policy
from mesh.telemetry import trace_id
from tests.fakes.boundless import Boundless

SHAPES = ("one_one", "one_many", "many_one", "many_many")
SERVICE_NAME = "test.Shapes"
LOOK_SECONDS = 0.02


class Behaviour:
    """What a handler does with a text; shared by the four shapes."""

    def __init__(self) -> None:
        self.cancelled = asyncio.Event()
        self.entered = asyncio.Event()

    async def act(self, text: str) -> str:
        self.entered.set()
        if text == "missing":
            raise BatchNotFound(batch_id="b-1")
        if text == "crash":
            raise RuntimeError("a secret that must not leave")
        if text == "hang":
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                self.cancelled.set()
                raise
        if text == "settle":
            audit.replayed()
        return f"{caller()}|{address()}|{len(trace_id())}|{text}"

    async def one_one(self, request: StringValue, _: Any) -> StringValue:
        return StringValue(value=await self.act(request.value))

    async def one_many(self, request: StringValue, _: Any) -> AsyncIterator[StringValue]:
        yield StringValue(value="first")
        yield StringValue(value=await self.act(request.value))

    async def many_one(self, requests: AsyncIterator[StringValue], _: Any) -> StringValue:
        return StringValue(value=",".join([await self.act(r.value) async for r in requests]))

    async def many_many(self, requests: AsyncIterator[StringValue], _: Any) -> AsyncIterator[StringValue]:
        async for request in requests:
            yield StringValue(value=await self.act(request.value))


class HeaderAuthenticator:
    """Believes a header: what is tested here is who is let in, not how it is proved."""

    def __init__(self, header: str, kind: Any) -> None:
        self._header, self._kind = header, kind
        self.revoked = {"revoked"}
        self.fault: Exception | None = None
        self.looks = 0

    async def authenticate(self, metadata: Mapping[str, str]) -> Principal | None:
        self.looks += 1
        if self.fault is not None:
            raise self.fault
        value = metadata.get(self._header)
        if value in self.revoked:
            raise CredentialsInvalid
        return Principal(self._kind, value) if value else None


def rules(audiences: int, *, audited: bool = False, rate_class: str = "READ") -> dict[str, Policy]:
    return {
        f"/{SERVICE_NAME}/{shape}": Policy(
            method=f"/{SERVICE_NAME}/{shape}",
            audiences=frozenset([audiences]),
            peers=frozenset(["anchor"]) if audiences == SERVICE else frozenset(),
            rate_class=rate_class,
            audited=audited,
            request_streaming=shape.startswith("many"),
            response_streaming=shape.endswith("many"),
        )
        for shape in SHAPES
    }


class Fixture:
    """A server with the steps of `policies`, and a client for each shape."""

    def __init__(self, policies: dict[str, Policy], limiter: Any) -> None:
        self.behaviour = Behaviour()
        self._policies = policies
        self._server = grpc.aio.server()
        self.keys = HeaderAuthenticator("x-api-key", "factory")
        authenticators: dict[int, Authenticator] = {
            FACTORY: self.keys,
            SERVICE: HeaderAuthenticator("x-service", "service"),
        }
        self._steps = [
            TelemetryStep(policies, tracing=False),
            ErrorsStep(policies),
            DeadlineStep(policies, default_seconds=5),
            AccessStep(policies, authenticators, look_seconds=LOOK_SECONDS),
            LimitsStep(policies, limiter),
            ValidationStep(policies),
            AuditStep(policies),
        ]

    async def __aenter__(self) -> "Fixture":
        makers = {
            "one_one": grpc.unary_unary_rpc_method_handler,
            "one_many": grpc.unary_stream_rpc_method_handler,
            "many_one": grpc.stream_unary_rpc_method_handler,
            "many_many": grpc.stream_stream_rpc_method_handler,
        }
        handlers = {}
        for shape, make in makers.items():
            handler = make(getattr(self.behaviour, shape), StringValue.FromString, StringValue.SerializeToString)
            handlers[shape] = compose(handler, self._policies[f"/{SERVICE_NAME}/{shape}"], self._steps)
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE_NAME, handlers),))
        port = self._server.add_insecure_port("127.0.0.1:0")
        await self._server.start()
        self.channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}")
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.channel.close()
        await self._server.stop(0)

    def call(self, shape: str, text: str, metadata: Mapping[str, str] | None = None, timeout: float | None = 10) -> Any:
        path, ser, de = f"/{SERVICE_NAME}/{shape}", StringValue.SerializeToString, StringValue.FromString
        headers = tuple((metadata or {}).items())
        request = StringValue(value=text)
        if shape == "one_one":
            return self.channel.unary_unary(path, ser, de)(request, metadata=headers, timeout=timeout)
        if shape == "one_many":
            return self.channel.unary_stream(path, ser, de)(request, metadata=headers, timeout=timeout)
        if shape == "many_one":
            return self.channel.stream_unary(path, ser, de)(iter([request]), metadata=headers, timeout=timeout)
        return self.channel.stream_stream(path, ser, de)(iter([request]), metadata=headers, timeout=timeout)

    async def ask(
        self, shape: str, text: str, metadata: Mapping[str, str] | None = None, timeout: float | None = 10
    ) -> str:
        call = self.call(shape, text, metadata, timeout)
        if shape.endswith("one"):
            return str((await call).value)
        answers: list[str] = [answer.value async for answer in call]
        return answers[-1]

    async def refusal(
        self, shape: str, text: str, **kwargs: Any
    ) -> tuple[grpc.aio.AioRpcError, error_details_pb2.ErrorInfo]:
        trailing: dict[str, Any] = {}
        # gRPC's client gives a status of its own when its first message is still on the way as the server refuses.
        for _ in range(5):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await self.ask(shape, text, **kwargs)
            trailing = dict(caught.value.trailing_metadata() or ())
            if STATUS_KEY in trailing:
                break
        status = status_pb2.Status.FromString(trailing[STATUS_KEY])
        info = error_details_pb2.ErrorInfo()
        assert status.details[0].Unpack(info)
        assert status.code == caught.value.code().value[0]
        return caught.value, info


@pytest.mark.parametrize("shape", SHAPES)
async def test_answer_sees_caller_address_and_trace(shape: str) -> None:
    async with Fixture(rules(FACTORY), Boundless()) as server:
        answer = await server.ask(shape, "hello", {"x-api-key": "f-1", "x-client-address": "203.0.113.77"})
    assert answer == "factory:f-1|203.0.113.0/24|32|hello"


@pytest.mark.parametrize("shape", SHAPES)
async def test_a_stream_ends_when_its_key_is_revoked(shape: str) -> None:
    async with Fixture(rules(FACTORY), Boundless()) as server:
        hanging = asyncio.create_task(server.ask(shape, "hang", {"x-api-key": "f-1"}))
        await server.behaviour.entered.wait()
        server.keys.revoked.add("f-1")
        if shape == "one_one":
            await asyncio.sleep(5 * LOOK_SECONDS)
            assert (hanging.done(), server.keys.looks) == (False, 1), "one call, however long, was let in"
            hanging.cancel()
        else:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await hanging
            assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
        await asyncio.wait_for(server.behaviour.cancelled.wait(), 5)


@pytest.mark.parametrize(
    "fault", [DependencyUnavailable(dependency="PostgreSQL"), RuntimeError("a bug")], ids=["away", "bug"]
)
async def test_a_stream_goes_on_while_its_key_cannot_be_looked_up_and_ends_with_its_caller(fault: Exception) -> None:
    async with Fixture(rules(FACTORY), Boundless()) as server:
        hanging = asyncio.create_task(server.ask("one_many", "hang", {"x-api-key": "f-1"}))
        await server.behaviour.entered.wait()
        server.keys.fault = fault
        async with asyncio.timeout(5):
            while server.keys.looks < 5:
                await asyncio.sleep(LOOK_SECONDS)
        assert not hanging.done()
        assert not server.behaviour.cancelled.is_set()
        hanging.cancel()
        await asyncio.wait_for(server.behaviour.cancelled.wait(), 5)
        looks = server.keys.looks
        await asyncio.sleep(3 * LOOK_SECONDS)
        assert server.keys.looks <= looks + 1, "nobody looks for who has gone"


@pytest.mark.parametrize("shape", SHAPES)
async def test_typed_error_leaves_as_status(shape: str) -> None:
    async with Fixture(rules(PUBLIC), Boundless()) as server:
        error, info = await server.refusal(shape, "missing")
    assert (error.code(), info.reason, info.metadata["batch_id"]) == (
        grpc.StatusCode.NOT_FOUND,
        "BATCH_NOT_FOUND",
        "b-1",
    )


@pytest.mark.parametrize("shape", SHAPES)
async def test_crash_leaves_as_internal_without_its_text(shape: str) -> None:
    async with Fixture(rules(PUBLIC), Boundless()) as server:
        error, info = await server.refusal(shape, "crash", metadata={"traceparent": f"00-{'ab' * 16}-{'cd' * 8}-01"})
    assert (error.code(), info.reason) == (grpc.StatusCode.INTERNAL, "INTERNAL")
    assert "secret" not in (error.details() or "")
    assert info.metadata["trace_id"] == "ab" * 16


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    ("metadata", "reason"),
    [
        ({}, "CREDENTIALS_MISSING"),
        ({"x-api-key": "revoked"}, "CREDENTIALS_INVALID"),
        ({"x-service": "anchor"}, "ACCESS_DENIED"),
    ],
)
async def test_factory_method_refuses(shape: str, metadata: dict[str, str], reason: str) -> None:
    async with Fixture(rules(FACTORY), Boundless()) as server:
        _, info = await server.refusal(shape, "hello", metadata=metadata)
        assert not server.behaviour.entered.is_set()
    assert info.reason == reason


@pytest.mark.parametrize("shape", SHAPES)
async def test_service_method_lets_in_its_peers_only(shape: str) -> None:
    async with Fixture(rules(SERVICE), Boundless()) as server:
        assert "service:anchor" in await server.ask(shape, "hello", {"x-service": "anchor"})
        _, info = await server.refusal(shape, "hello", metadata={"x-service": "scan"})
    assert info.reason == "ACCESS_DENIED"


@pytest.mark.parametrize("shape", SHAPES)
async def test_limit_says_when_to_come_back(shape: str) -> None:
    clock = SystemClock()

    class Once:
        local = LocalLimiter(clock)

        async def take(self, key: str, rate: Rate) -> float:
            del rate
            return await self.local.take(key, Rate(0.01, 1))

    async with Fixture(rules(PUBLIC), Once()) as server:
        await server.ask(shape, "hello", {"x-client-address": "203.0.113.1"})
        error, info = await server.refusal(shape, "hello", metadata={"x-client-address": "203.0.113.2"})
        await server.ask(shape, "hello", {"x-client-address": "198.51.100.1"})
    assert (error.code(), info.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "RATE_LIMITED")
    assert 0 < int(dict(error.trailing_metadata() or ())["retry-after"]) <= 100


@pytest.mark.parametrize("shape", SHAPES)
async def test_deadline_is_named_before_the_caller_gives_up(shape: str) -> None:
    async with Fixture(rules(PUBLIC), Boundless()) as server:
        error, info = await server.refusal(shape, "hang", timeout=0.5)
        assert server.behaviour.cancelled.is_set()
    assert (error.code(), info.reason) == (grpc.StatusCode.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED")


@pytest.mark.parametrize("shape", SHAPES)
async def test_cancelled_call_cancels_its_handler(shape: str) -> None:
    async with Fixture(rules(PUBLIC), Boundless()) as server:
        call = server.call(shape, "hang")
        reading = asyncio.ensure_future(call if shape.endswith("one") else _drain(call))
        async with asyncio.timeout(5):
            await server.behaviour.entered.wait()
            call.cancel()
            await server.behaviour.cancelled.wait()
        with pytest.raises(asyncio.CancelledError):
            await reading


async def _drain(call: Any) -> None:
    async for _ in call:
        pass


@pytest.mark.parametrize("shape", SHAPES)
async def test_audited_call_must_settle(shape: str) -> None:
    async with Fixture(rules(PUBLIC, audited=True), Boundless()) as server:
        assert (await server.ask(shape, "settle")).endswith("settle")
        _, info = await server.refusal(shape, "hello")
    assert info.reason == "INTERNAL"


def test_clock_is_utc() -> None:
    now: datetime = SystemClock().now()
    assert now.utcoffset() is not None
    assert not now.utcoffset()
