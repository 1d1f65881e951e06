"""Factories' systems: real HTTP servers that take webhooks, verify them and answer as told; and who calls our doors."""

import asyncio
import base64
import hashlib
import hmac
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from random import Random
from typing import Any
from uuid import uuid4

from aiohttp import ThreadedResolver, web
from aiohttp.abc import AbstractResolver
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from voketag.factory.v1 import webhook_pb2 as pb
from voketag.factory.v1 import webhook_pb2_grpc

from factory import tenants
from factory.addresses import any_address
from factory.config import secret_bytes
from factory.delivering import Delivering
from factory.sending import Sender
from factory.signing import RootKey
from factory.store import Store
from mesh.client import with_api_key
from mesh.clock import SystemClock, new_id
from mesh.jobs import Worker
from tests.integration.factory.world import Customer, Ground, eventually
from tests.servers import free_port

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]
SOON = (0.05,) * 9
"""A schedule for people in a hurry."""


@dataclass(frozen=True)
class Received:
    """One POST."""

    headers: dict[str, str]
    body: bytes

    @property
    def event(self) -> dict[str, Any]:
        event: dict[str, Any] = json.loads(self.body)
        return event

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    def verified(self, secret: str, public_key: str) -> bool:
        """As the specification has it, under both keys."""
        content = f"{self.id}.{self.headers['webhook-timestamp']}.".encode() + self.body
        key = base64.b64decode(secret.removeprefix("whsec_"))
        mac = base64.b64encode(hmac.new(key, content, hashlib.sha256).digest()).decode()
        signatures = self.headers["webhook-signature"].split()
        if f"v1,{mac}" not in signatures:
            return False
        public = Ed25519PublicKey.from_public_bytes(base64.b64decode(public_key.removeprefix("whpk_")))
        for signature in signatures:
            kind, _, text = signature.partition(",")
            if kind == "v1a" and _checks(public, base64.b64decode(text), content):
                return True
        return False


def _checks(public: Ed25519PublicKey, signature: bytes, content: bytes) -> bool:
    try:
        public.verify(signature, content)
    except InvalidSignature:
        return False
    return True


@dataclass
class Receiver:
    """Answers each POST by the next of `answers`, the last one for good: a status or a handler."""

    answers: list[int | Answer]
    port: int = 0
    scheme: str = "http"
    received: list[Received] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}/hook"

    async def take(self, request: web.Request) -> web.StreamResponse:
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.received.append(Received(headers, await request.read()))
        answer = self.answers[0] if len(self.answers) == 1 else self.answers.pop(0)
        return web.Response(status=answer, text="noted") if isinstance(answer, int) else await answer(request)

    async def got(self, count: int) -> list[Received]:
        """What came, once it is so much."""

        async def enough() -> bool:
            return len(self.received) >= count

        await eventually(enough)
        return self.received


@asynccontextmanager
async def receiving(
    *answers: int | Answer, port: int = 0, tls: ssl.SSLContext | None = None
) -> AsyncIterator[Receiver]:
    """A receiver on a loopback port."""
    receiver = Receiver(list(answers) or [204], port or free_port(), "https" if tls else "http")
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", receiver.take)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", receiver.port, ssl_context=tls).start()
    try:
        yield receiver
    finally:
        await runner.cleanup()


@asynccontextmanager
async def sending(resolver: AbstractResolver | None = None, **more: Any) -> AsyncIterator[Sender]:
    """A sender that may go anywhere, unless told otherwise."""
    settings: dict[str, Any] = {"rule": any_address, "allow_private": True} | more
    sender = Sender(resolver or ThreadedResolver(), SystemClock(), **settings)
    try:
        yield sender
    finally:
        await sender.close()


@asynccontextmanager
async def delivering(ground: Ground, schedule: Sequence[float] = SOON, **more: Any) -> AsyncIterator[None]:
    """The worker's deliveries in this process, on a schedule of one's own."""
    settings = ground.database.settings("factory")
    pool = await tenants.connect(settings)
    root = RootKey(secret_bytes(ground.secrets.webhook_root.read_text()))
    async with sending(**more) as sender:
        clock = SystemClock()
        made = Delivering(Store(pool), sender, root, clock, new_id=new_id, random=Random(1), schedule=schedule)
        worker = Worker(
            settings, schema="factory", handlers=made.handlers(), random=Random(1), clock=clock, lease_seconds=1
        )
        running = asyncio.create_task(worker.run())
        try:
            yield
        finally:
            worker.stop()
            await running
            pool.terminate()


@dataclass(frozen=True)
class Hooks:
    """A factory at the door of its webhooks."""

    customer: Customer
    stub: Any

    async def create(self, url: str, *event_types: int, **more: Any) -> pb.CreateEndpointResponse:
        more.setdefault("request_id", str(uuid4()))
        request = pb.CreateEndpointRequest(url=url, event_types=event_types, **more)  # type: ignore[arg-type]
        answer: pb.CreateEndpointResponse = await self.stub.CreateEndpoint(request, timeout=10)
        return answer

    async def test(self, endpoint_id: str) -> pb.Delivery:
        request = pb.TestEndpointRequest(request_id=str(uuid4()), endpoint_id=endpoint_id)
        delivery: pb.Delivery = (await self.stub.TestEndpoint(request, timeout=10)).delivery
        return delivery

    async def rotate(self, endpoint_id: str) -> pb.RotateSecretResponse:
        request = pb.RotateSecretRequest(request_id=str(uuid4()), endpoint_id=endpoint_id)
        answer: pb.RotateSecretResponse = await self.stub.RotateSecret(request, timeout=10)
        return answer

    async def disable(self, endpoint_id: str) -> pb.Endpoint:
        request = pb.DisableEndpointRequest(request_id=str(uuid4()), endpoint_id=endpoint_id)
        endpoint: pb.Endpoint = (await self.stub.DisableEndpoint(request, timeout=10)).endpoint
        return endpoint

    async def replay(self, delivery_id: str) -> pb.Delivery:
        request = pb.ReplayDeliveryRequest(request_id=str(uuid4()), delivery_id=delivery_id)
        delivery: pb.Delivery = (await self.stub.ReplayDelivery(request, timeout=10)).delivery
        return delivery

    async def endpoint(self, endpoint_id: str) -> pb.Endpoint:
        listed = await self.stub.ListEndpoints(pb.ListEndpointsRequest(page_size=1000), timeout=10)
        (found,) = (endpoint for endpoint in listed.endpoints if endpoint.endpoint_id == endpoint_id)
        endpoint: pb.Endpoint = found
        return endpoint

    async def deliveries(self, endpoint_id: str, **more: Any) -> list[pb.Delivery]:
        """Every delivery to an endpoint, page by page."""
        found: list[pb.Delivery] = []
        token = ""
        while True:
            request = pb.ListDeliveriesRequest(endpoint_id=endpoint_id, page_token=token, **more)
            page = await self.stub.ListDeliveries(request, timeout=10)
            found.extend(page.deliveries)
            token = page.next_page_token
            if not token:
                return found

    async def reached(self, endpoint_id: str, state: int, *, attempts: int = 0) -> pb.Delivery:
        """The endpoint's newest delivery once it is in a state with at least so many attempts."""

        async def probe() -> pb.Delivery | None:
            newest = (await self.deliveries(endpoint_id))[:1]
            there = newest and newest[0].state == state and len(newest[0].attempts) >= attempts
            return newest[0] if there else None

        found = await eventually(probe)
        assert found is not None
        return found


@asynccontextmanager
async def hooks(customer: Customer) -> AsyncIterator[Hooks]:
    """The customer, asking for webhooks."""
    async with with_api_key(customer.door.target, customer.key) as channel:
        yield Hooks(customer, webhook_pb2_grpc.WebhookServiceStub(channel))
