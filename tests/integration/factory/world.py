"""What a factory service stands on, its two processes, and callers of it."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID, uuid4

import asyncpg
import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2
from pydantic import SecretStr
from voketag.factory.v1 import account_pb2, account_pb2_grpc, factory_pb2, factory_pb2_grpc

from factory import assembly, tenants
from factory.changes import Changes
from factory.config import FactorySettings
from mesh import valkey
from mesh.client import peer, with_api_key
from mesh.clock import SystemClock
from mesh.config import ValkeySettings
from mesh.identity import ServiceTokens
from mesh.local.process import Child
from mesh.local.secrets import Secrets
from mesh.server import Server
from tests.databases import Database
from tests.fakes.boundless import Boundless
from tests.fakes.final_anchor import FinalAnchor
from tests.fakes.people import JWKS, access_token
from tests.servers import ValkeyAddress, free_port
from trust import canonical, merkle
from trust.token import Keyring, check

T = TypeVar("T")
ROOT = Path(__file__).parents[3]
ADMIN_CALL_SECONDS = 10
URL_PREFIX = "https://app.voketag.com/r/"


async def eventually(probe: Callable[[], Awaitable[T]], *, within: float = 20.0, every: float = 0.05) -> T:
    """What the probe gives once it gives something true."""
    async with asyncio.timeout(within):
        while True:
            if found := await probe():
                return found
            await asyncio.sleep(every)


def reason_of(error: grpc.aio.AioRpcError) -> str:
    """The reason of the one ErrorInfo."""
    info = error_details_pb2.ErrorInfo()
    trailing = dict(error.trailing_metadata() or ())
    status = status_pb2.Status.FromString(trailing["grpc-status-details-bin"])
    assert sum(detail.Unpack(info) for detail in status.details if detail.Is(info.DESCRIPTOR)) == 1
    assert info.domain == "voketag.com"
    return info.reason


def metadata_of(error: grpc.aio.AioRpcError) -> dict[str, str]:
    """The variables of the one ErrorInfo."""
    info = error_details_pb2.ErrorInfo()
    trailing = dict(error.trailing_metadata() or ())
    for detail in status_pb2.Status.FromString(trailing["grpc-status-details-bin"]).details:
        detail.Unpack(info)
    return dict(info.metadata)


@dataclass(frozen=True)
class Ground:
    """Database, Valkey and secrets; and the environment of processes that stand on them."""

    database: Database
    valkey: ValkeyAddress
    secrets: Secrets
    folder: Path

    @property
    def keyring(self) -> Keyring:
        return Keyring.from_json(self.secrets.keyring.read_text())

    def environment(self, **more: object) -> dict[str, str]:
        values: dict[str, object] = {
            "DATABASE_URL": self.database.url("factory"),
            "DATABASE_PASSWORD": self.database.server.password,
            "VALKEY_URL": self.valkey.url,
            "JWKS_FILE": self.secrets.jwks,
            "USER_JWKS_FILE": self.secrets.user_jwks,
            "SERVICE_KEY_FILE": self.secrets.identity("factory"),
            "KEYRING_FILE": self.secrets.keyring,
            "API_KEY_ROOT_FILE": self.secrets.api_key_root,
            "PAGE_KEY_FILE": self.secrets.page_key,
            "WEBHOOK_ROOT_FILE": self.secrets.webhook_root,
            "WEBHOOK_ALLOW_PRIVATE": 1,
            "DRAIN_SECONDS": 0,
        }
        own = {f"VOKETAG_{name}": str(value) for name, value in (values | more).items()}
        return {"PATH": os.environ["PATH"], "PYTHONPATH": f"{ROOT}:{ROOT / 'gen'}"} | own

    def process(self, *command: str, **more: object) -> Child:
        """`python -m factory <command>`, not started."""
        return Child(
            f"factory {' '.join(command)}",
            [sys.executable, "-m", "factory", *command],
            log=self.folder / f"{command[0]}.log",
            env=self.environment(**more),
        )

    def settings(self, **more: Any) -> FactorySettings:
        return FactorySettings(
            listen_host="127.0.0.1",
            listen_port=more.pop("listen_port", 0) or free_port(),
            database_url=self.database.url("factory"),
            database_password=SecretStr(self.database.server.password),
            valkey_url=self.valkey.url,
            jwks=self.secrets.jwks.read_text(),
            user_jwks=JWKS,
            keyring=SecretStr(self.secrets.keyring.read_text()),
            api_key_root=SecretStr(self.secrets.api_key_root.read_text()),
            page_key=SecretStr(self.secrets.page_key.read_text()),
            webhook_root=SecretStr(self.secrets.webhook_root.read_text()),
            webhook_allow_private=more.pop("webhook_allow_private", True),
            drain_seconds=0,
            grace_seconds=2,
            **more,
        )

    @asynccontextmanager
    async def server(self, **more: Any) -> AsyncIterator["Door"]:
        """A server in this process, on a real port."""
        calendar = more.pop("calendar", SystemClock())
        settings = self.settings(**more)
        pool = await tenants.connect(settings)
        client = valkey.client(ValkeySettings(valkey_url=settings.valkey_url))
        changes = Changes(client)
        try:
            async with changes.told(heard=True):
                server = Server(
                    replace(
                        assembly.server_parts(settings, pool, client, changes, calendar=calendar), limiter=Boundless()
                    )
                )
                await server.start()
                try:
                    yield Door(self, f"127.0.0.1:{server.port}", server)
                finally:
                    await server.stop()
        finally:
            await client.aclose()
            pool.terminate()

    @asynccontextmanager
    async def owner(self) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
        connection = await asyncpg.connect(self.database.dsn)
        try:
            await connection.execute("SET search_path = factory, pg_catalog")
            yield connection
        finally:
            await connection.close()


@dataclass(frozen=True)
class Door:
    """Where a server listens."""

    ground: Ground
    target: str
    server: Server | None = None

    def channel(self, service: str = "admin") -> grpc.aio.Channel:
        """A channel of another service of the mesh."""
        tokens = ServiceTokens(service, self.ground.secrets.identity(service).read_text(), SystemClock())
        return peer(self.target, tokens=tokens, service="factory")

    @asynccontextmanager
    async def person(self, role: str, factory_id: UUID | None = None) -> AsyncIterator["Somebody"]:
        """Somebody with an access token at AccountService; managers and operators have a factory."""
        token = access_token(role, factory=factory_id and str(factory_id), sub=str(uuid4()))
        async with grpc.aio.insecure_channel(self.target) as channel:
            yield Somebody(account_pb2_grpc.AccountServiceStub(channel), (("authorization", f"Bearer {token}"),))

    async def new_factory(self, name: str = "Fábrica de Teste") -> tuple[UUID, str]:
        """A new account: its id and the text of a key."""
        async with self.channel() as channel:
            stub: Any = account_pb2_grpc.AccountServiceStub(channel)
            opened = await stub.CreateFactory(
                account_pb2.CreateFactoryRequest(request_id=str(uuid4()), name=name), timeout=ADMIN_CALL_SECONDS
            )
            factory_id = opened.factory.factory_id
            issued = await stub.CreateApiKey(
                account_pb2.CreateApiKeyRequest(request_id=str(uuid4()), factory_id=factory_id),
                timeout=ADMIN_CALL_SECONDS,
            )
        return UUID(factory_id), issued.secret

    @asynccontextmanager
    async def customer(self, name: str = "Fábrica de Teste") -> AsyncIterator["Customer"]:
        """A new factory at the door."""
        factory_id, key = await self.new_factory(name)
        async with self.returning(factory_id, key) as customer:
            yield customer

    @asynccontextmanager
    async def returning(self, factory_id: UUID, key: str) -> AsyncIterator["Customer"]:
        """A factory that has its key already."""
        async with with_api_key(self.target, key) as channel, grpc.aio.insecure_channel(self.target) as plain:
            stub = factory_pb2_grpc.FactoryServiceStub
            yield Customer(self, factory_id, key, stub(channel), stub(plain))


@dataclass(frozen=True)
class Somebody:
    """A person at AccountService."""

    stub: Any
    metadata: tuple[tuple[str, str], ...]

    async def call(self, method: str, **fields: Any) -> Any:
        """Mutations get a request id unless they have one."""
        message = getattr(account_pb2, f"{method}Request")
        if "request_id" in message.DESCRIPTOR.fields_by_name:
            fields.setdefault("request_id", str(uuid4()))
        return await getattr(self.stub, method)(message(**fields), metadata=self.metadata, timeout=20)

    async def refused(self, method: str, **fields: Any) -> str:
        """The reason why not."""
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await self.call(method, **fields)
        return reason_of(error.value)


@dataclass(frozen=True)
class Customer:
    """A factory with its key."""

    door: Door
    factory_id: UUID
    key: str
    stub: Any
    plain: Any

    async def order(self, count: int, **more: Any) -> factory_pb2.CreateBatchResponse:
        """Orders a batch."""
        more.setdefault("request_id", str(uuid4()))
        more.setdefault("name", "batch")
        request = factory_pb2.CreateBatchRequest(product_count=count, **more)
        answer: factory_pb2.CreateBatchResponse = await self.stub.CreateBatch(request, timeout=20)
        return answer

    async def batch(self, batch_id: str) -> factory_pb2.Batch:
        """A batch as it is now."""
        answer = await self.stub.GetBatch(factory_pb2.GetBatchRequest(batch_id=batch_id), timeout=10)
        batch: factory_pb2.Batch = answer.batch
        return batch

    async def reached(self, batch_id: str, state: int, *, within: float = 30.0) -> factory_pb2.Batch:
        """The batch once it is in a state."""

        async def probe() -> factory_pb2.Batch | None:
            batch = await self.batch(batch_id)
            return batch if batch.state == state else None

        found = await eventually(probe, within=within)
        assert found is not None
        return found

    async def products(self, batch_id: str, page_size: int = 1000) -> list[factory_pb2.Product]:
        """Every product of a batch, page by page."""
        found: list[factory_pb2.Product] = []
        token = ""
        while True:
            request = factory_pb2.ListProductsRequest(batch_id=batch_id, page_size=page_size, page_token=token)
            page = await self.stub.ListProducts(request, timeout=20)
            assert len(page.products) <= page_size
            found.extend(page.products)
            token = page.next_page_token
            if not token:
                return found


class Import:
    """One stream of an import, frame by frame."""

    def __init__(self, customer: Customer, request_id: str | None = None, **header: Any) -> None:
        self.request_id = request_id or str(uuid4())
        # Not by the channel's interceptor: grpc.aio's proxy of an intercepted stream leaves a generator running.
        self.call = customer.plain.ImportProducts(metadata=(("x-api-key", customer.key),))
        self._header = {"name": "import", **header}
        self.batch_id = ""
        self.next_row = 0

    async def send(self, **frame: Any) -> None:
        await self.call.write(factory_pb2.ImportProductsRequest(**frame))

    async def read(self) -> factory_pb2.ImportProductsResponse:
        """The next answer; the call's error when it ended with one."""
        answer: Any = await self.call.read()
        if answer is grpc.aio.EOF:
            code = await self.call.code()
            assert code is not grpc.StatusCode.OK, "the stream ended well, but an answer was awaited"
            raise grpc.aio.AioRpcError(
                code, await self.call.initial_metadata(), await self.call.trailing_metadata(), await self.call.details()
            )
        response: factory_pb2.ImportProductsResponse = answer
        return response

    async def open(self) -> "Import":
        await self.send(header=factory_pb2.ImportHeader(request_id=self.request_id, **self._header))
        opened = (await self.read()).opened
        self.batch_id, self.next_row = opened.batch.batch_id, opened.next_row
        assert opened.url_prefix == URL_PREFIX
        return self

    async def chunk(self, first_row: int, rows: Sequence[factory_pb2.ImportRow]) -> factory_pb2.ImportAck:
        await self.send(chunk=factory_pb2.ImportChunk(first_row=first_row, rows=rows))
        return (await self.read()).ack

    async def end(self, row_count: int) -> factory_pb2.Batch:
        await self.send(end=factory_pb2.ImportEnd(row_count=row_count))
        batch = (await self.read()).completed.batch
        assert await self.call.read() is grpc.aio.EOF
        return batch


def rows(count: int, first: int = 0) -> list[factory_pb2.ImportRow]:
    """Good rows, each different."""
    return [
        factory_pb2.ImportRow(
            sku=f"SKU-{number % 50}",
            gtin="4006381333931",
            serial=f"{number:08d}",
            name='Läufer "Größe 9"' if number % 3 else "Runner",
            market="BR",
            expiry="2030-01-31",
            attributes={"colour": "red"} if number % 5 == 0 else {},
        )
        for number in range(first, first + count)
    ]


def verify_batch(ground: Ground, batch: factory_pb2.Batch, products: Iterable[factory_pb2.Product]) -> None:
    """Works the tree out again from the products, and checks every token and link."""
    batch_id, leaves, seen = UUID(batch.batch_id).bytes, [], set()
    for index, product in enumerate(products):
        product_id = UUID(product.product_id).bytes
        checked = check(ground.keyring, product.token)
        assert checked is not None
        assert checked.product_id == product_id
        assert (product.index, product.batch_id) == (index, batch.batch_id)
        assert product.url == URL_PREFIX + product.token
        digest = canonical.attributes_digest(canonical.attributes_bytes(product.attributes))
        leaves.append(merkle.leaf_hash(canonical.product_leaf(batch_id, index, product_id, digest)))
        seen.add(product_id)
    assert len(seen) == len(leaves) == batch.product_count == batch.issued_count
    if batch.root:
        assert merkle.root(leaves) == batch.root


def audit_detail(row: Any) -> dict[str, Any]:
    """The detail of an audit row."""
    detail: dict[str, Any] = json.loads(row["detail"])
    return detail


@asynccontextmanager
async def working(ground: Ground, anchor: FinalAnchor, **more: object) -> AsyncIterator[Child]:
    """A worker process, killed in the end; a dead one's jobs are taken over after a second, if nothing else is said."""
    child = ground.process("work", **{"ANCHOR_TARGET": anchor.target, "LEASE_SECONDS": 1.0, **more})
    await child.start()
    try:
        yield child
    finally:
        await child.kill()


@asynccontextmanager
async def serving(ground: Ground, port: int, **more: object) -> AsyncIterator[Child]:
    """A server process, killed in the end."""
    child = ground.process("serve", LISTEN_HOST="127.0.0.1", LISTEN_PORT=port, **more)
    await child.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            await asyncio.wait_for(channel.channel_ready(), 20)
        yield child
    finally:
        await child.kill()
