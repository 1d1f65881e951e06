"""A gRPC server from its parts, from start to drained stop."""

import asyncio
import signal
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import grpc
import structlog
from grpc_health.v1 import health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2_grpc

from mesh.config import ServerSettings
from mesh.health import Check, Health
from mesh.identity import Authenticator
from mesh.interceptors.access import AccessStep
from mesh.interceptors.audit import AuditStep
from mesh.interceptors.deadline import DeadlineStep
from mesh.interceptors.errors import ErrorsStep
from mesh.interceptors.limits import LimitsStep
from mesh.interceptors.refusals import RefusalStep
from mesh.interceptors.step import Context, Handler, Step, compose
from mesh.interceptors.telemetry import Handlers, TelemetryStep
from mesh.interceptors.validation import ValidationStep
from mesh.limits import Limiter
from mesh.policy import Policy, policies
from mesh.processes import spare_collector
from mesh.refusals import Refusals

log = structlog.get_logger()
Raw = Callable[[bytes, Context], Awaitable[bytes]]
UNARY_SECONDS = 10.0
LAST_SECONDS = 2.0
KEEPALIVE_FLOOR_MS = 10_000
CONNECTION_AGE_MS = 10 * 60_000


@dataclass(frozen=True, slots=True)
class ServerParts:
    """What a server is made of.

    `contracts` are the `_pb2` modules whose services it serves; `register` are pairs of a generated
    `add_…Servicer_to_server` and its servicer; `on_stop` is awaited when draining begins, so that streams end.
    `raw` stands in for a servicer's unary method: it takes and gives bytes, and holds requests against the contract.
    `refusals` keeps what is refused of audited methods; without it nothing does.
    """

    settings: ServerSettings
    contracts: Iterable[ModuleType]
    register: Iterable[tuple[Callable[[Any, Any], None], object]]
    authenticators: Mapping[int, Authenticator]
    limiter: Limiter
    checks: Mapping[str, Check] = field(default_factory=dict)
    tracing: bool = False
    on_stop: Callable[[], None] = lambda: None
    raw: Mapping[str, Raw] = field(default_factory=dict)
    refusals: Refusals | None = None


class _Methods(grpc.GenericRpcHandler):
    """All methods of a server by their paths; the generated code registers them here as if it were the server.

    They are never registered there one by one: for each registered method gRPC keeps a future of its next call, and at
    every call it waits for all of them anew, which takes 8 µs where there are thirty methods.
    """

    def __init__(self) -> None:
        self.services: list[str] = []
        self._handlers: dict[str, Handler] = {}

    def add_generic_rpc_handlers(self, handlers: object) -> None:
        """The same handlers come by `add_registered_method_handlers`."""

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Handler]) -> None:
        """Takes the handlers of a service by the names of its methods."""
        self.services.append(service)
        self._handlers.update({f"/{service}/{name}": handler for name, handler in handlers.items()})

    def change(self, change: Callable[[str, Handler], Handler]) -> None:
        """Puts another handler in the place of each, given its path."""
        self._handlers = {path: change(path, handler) for path, handler in self._handlers.items()}

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> "Handler | None":
        """See grpc.GenericRpcHandler."""
        return self._handlers.get(handler_call_details.method)


def steps(parts: ServerParts, rules: Mapping[str, Policy], telemetry: TelemetryStep) -> list[Step]:
    """The steps around every call, outermost first."""
    return [
        telemetry,
        ErrorsStep(rules),
        RefusalStep(rules, parts.refusals),
        DeadlineStep(rules, default_seconds=UNARY_SECONDS),
        AccessStep(rules, parts.authenticators, look_seconds=parts.settings.credentials_seconds),
        LimitsStep(rules, parts.limiter),
        ValidationStep(rules),
        AuditStep(rules),
    ]


class Server:
    """One process's server."""

    def __init__(self, parts: ServerParts) -> None:
        self._parts = parts
        self._health = Health(parts.checks)
        self._stopping = asyncio.Event()
        self._handlers = Handlers()
        self._server = grpc.aio.server(options=self._options())
        self.port = 0

    def _options(self) -> list[tuple[str, Any]]:
        settings = self._parts.settings
        size, silent_ms = settings.max_message_bytes, int(settings.keepalive_seconds * 1000)
        return [
            ("grpc.so_reuseport", 1 if settings.processes > 1 else 0),
            ("grpc.max_receive_message_length", size),
            ("grpc.max_send_message_length", size),
            ("grpc.max_connection_age_ms", CONNECTION_AGE_MS),
            ("grpc.http2.min_recv_ping_interval_without_data_ms", KEEPALIVE_FLOOR_MS),
            ("grpc.keepalive_permit_without_calls", 1),
            ("grpc.keepalive_time_ms", silent_ms),
            ("grpc.keepalive_timeout_ms", silent_ms // 2),
            ("grpc.http2.ping_timeout_ms", silent_ms // 2),  # it is this one that ends the connection
        ]

    async def start(self) -> None:
        """Listens. Raises PolicyMissingError, OSError when the port is taken."""
        rules = policies(self._parts.contracts)
        telemetry = TelemetryStep(rules, tracing=self._parts.tracing)
        self._handlers = telemetry.handlers
        around = steps(self._parts, rules, telemetry)
        methods = _Methods()
        for add, servicer in self._parts.register:
            add(servicer, methods)
        methods.change(lambda path, handler: self._composed(handler, rules[path], around))
        served = sorted(methods.services)
        health_pb2_grpc.add_HealthServicer_to_server(self._health.servicer, methods)
        self._reflect(methods)
        self._server.add_generic_rpc_handlers((methods,))
        settings = self._parts.settings
        try:
            self.port = self._server.add_insecure_port(f"{settings.listen_host}:{settings.listen_port}")
        except RuntimeError as error:
            raise OSError(
                f"cannot listen on {settings.listen_host}:{settings.listen_port}: is the port taken?"
            ) from error
        await self._health.start()
        await self._server.start()
        log.info("serving", port=self.port, services=served)

    def _composed(self, handler: Handler, policy: Policy, around: Sequence[Step]) -> Handler:
        raw = self._parts.raw.get(policy.method)
        if raw is None:
            return compose(handler, policy, around)
        whole: Handler = grpc.unary_unary_rpc_method_handler(raw)
        return compose(whole, policy, [step for step in around if not step.reads])

    def _reflect(self, methods: _Methods) -> None:
        if self._parts.settings.reflection:
            servicer = reflection.aio.ReflectionServicer((*methods.services, reflection.SERVICE_NAME))
            reflection_pb2_grpc.add_ServerReflectionServicer_to_server(servicer, methods)

    def stop_soon(self) -> None:
        """Asks `run` to drain and return."""
        self._stopping.set()

    async def run(self) -> None:
        """Serves until SIGTERM or SIGINT, then: NOT_SERVING, drain, stop accepting, finish calls under way."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop_soon)
        await self.start()
        spare_collector()
        watching = asyncio.create_task(self._health.watch())
        await self._stopping.wait()
        log.info("draining")
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching
        await self.stop()

    async def stop(self) -> None:
        """Drains and stops."""
        await self._health.stop()
        await asyncio.sleep(self._parts.settings.drain_seconds)
        self._parts.on_stop()
        await self._server.stop(self._parts.settings.grace_seconds)
        # gRPC does not wait for the handlers of calls that were cancelled, and they may need what is closed next.
        await self._handlers.ended(LAST_SECONDS)
        log.info("stopped")
