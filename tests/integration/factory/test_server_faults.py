"""What an import and a watcher live through while PostgreSQL or Valkey is away; a process that cannot start says why.

test_kills.py has what dies.
"""

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import pytest_asyncio
from voketag.factory.v1 import factory_pb2

from mesh.local.secrets import Secrets
from tests.databases import Databases
from tests.integration.factory.world import Customer, Ground, Import, eventually, reason_of, rows, verify_batch
from tests.servers import PASSWORD, PostgresAddress, ValkeyAddress, free_port, start_postgres, start_valkey

pytestmark = pytest.mark.asyncio(loop_scope="module")


class Sender:
    """A client that keeps what was acknowledged, and goes on where it was."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.request_id: str | None = None
        self.batch_id = ""
        self.tokens: dict[int, list[str]] = {}
        self.acknowledged = 0

    async def send(self, customer: Customer) -> factory_pb2.Batch:
        """Opens a stream and sends all that is missing, eight chunks ahead; repeats the last acknowledged chunk."""
        stream = Import(customer, self.request_id)
        self.request_id = stream.request_id
        await stream.open()
        self.batch_id = stream.batch_id
        assert stream.next_row >= self.acknowledged, "acknowledged rows were lost"
        first = min(stream.next_row, max(self.acknowledged - 1000, 0))
        room = asyncio.Semaphore(8)

        async def write() -> None:
            for start in range(first, self.total, 1000):
                await room.acquire()
                count = min(1000, self.total - start)
                await stream.send(chunk=factory_pb2.ImportChunk(first_row=start, rows=rows(count, start)))

        writing = asyncio.create_task(write())
        try:
            for start in range(first, self.total, 1000):
                ack = (await stream.read()).ack
                assert ack.first_row == start
                assert self.tokens.setdefault(start, list(ack.tokens)) == list(ack.tokens), "tokens have changed"
                self.acknowledged = max(self.acknowledged, ack.committed_rows)
                room.release()
        finally:
            writing.cancel()
            await asyncio.gather(writing, return_exceptions=True)
        return await stream.end(self.total)


@pytest_asyncio.fixture(loop_scope="module")
async def own_servers(tmp_path: Path) -> AsyncIterator[tuple[Ground, Any, Any]]:
    """PostgreSQL and Valkey of one's own, to be stopped."""
    tmp_path.chmod(0o755)
    postgres, valkey = await start_postgres(tmp_path), await start_valkey(tmp_path)
    secrets = Secrets(tmp_path / "secrets", os.urandom)
    secrets.make()
    address = PostgresAddress("127.0.0.1", postgres.port, "voketag", PASSWORD, postgres.dsn())
    try:
        async with Databases(address).clone("factory") as database:
            yield Ground(database, ValkeyAddress(valkey.url), secrets, tmp_path), postgres, valkey
    finally:
        await valkey.stop()
        await postgres.stop()


async def test_import_goes_on_after_postgresql_was_away(own_servers: tuple[Ground, Any, Any]) -> None:
    ground, postgres, _ = own_servers
    sender = Sender(60_000)
    async with ground.server() as door, door.customer() as customer:
        sending = asyncio.create_task(sender.send(customer))
        await eventually(lambda: _is(sender.acknowledged >= 10_000), every=0.001)
        await postgres.stop()
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await sending
        assert error.value.code() is grpc.StatusCode.UNAVAILABLE
        assert reason_of(error.value) == "DEPENDENCY_UNAVAILABLE"
        assert error.value.details() == "PostgreSQL cannot be reached; try again."
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await customer.batch(sender.batch_id)
        assert reason_of(error.value) == "DEPENDENCY_UNAVAILABLE"
        await postgres.start()
        batch = await sender.send(customer)
        products = await customer.products(sender.batch_id)
    assert [product.token for product in products] == [
        token for start in sorted(sender.tokens) for token in sender.tokens[start]
    ]
    verify_batch(ground, batch, products)


async def _is(value: bool) -> bool:
    return value


async def test_watcher_hears_of_changes_while_valkey_is_away(own_servers: tuple[Ground, Any, Any]) -> None:
    ground, _, valkey = own_servers
    async with ground.server() as one, ground.server() as other, one.customer() as customer:
        stream = await Import(customer).open()
        async with other.returning(customer.factory_id, customer.key) as elsewhere:
            call = elsewhere.stub.WatchBatch(factory_pb2.WatchBatchRequest(batch_id=stream.batch_id))
            assert (await call.read()).batch.issued_count == 0
            await stream.chunk(0, rows(10))
            assert (await asyncio.wait_for(call.read(), 5)).batch.issued_count == 10
            await valkey.stop()
            await stream.chunk(10, rows(10, 10))
            assert (await asyncio.wait_for(call.read(), 5)).batch.issued_count == 20
            await valkey.start()
            await stream.chunk(20, rows(10, 20))
            assert (await asyncio.wait_for(call.read(), 5)).batch.issued_count == 30


@pytest.mark.parametrize(
    ("command", "change", "said"),
    [
        ("serve", {"DATABASE_URL": "postgresql://voketag_factory@127.0.0.1:1/x"}, "PostgreSQL cannot be reached"),
        ("serve", {"VALKEY_URL": "redis://127.0.0.1:1/0"}, "Valkey cannot be reached"),
        ("work", {"DATABASE_URL": "postgresql://voketag_factory@127.0.0.1:1/x"}, "PostgreSQL cannot be reached"),
        ("serve", {"KEYRING_FILE": "/dev/null", "PAGE_KEY_FILE": "/dev/null"}, "VOKETAG_KEYRING"),
        ("serve", {"API_KEY_ROOT_FILE": "/dev/null"}, "VOKETAG_API_KEY_ROOT"),
        ("serve", {"WEBHOOK_ROOT_FILE": "/dev/null"}, "VOKETAG_WEBHOOK_ROOT"),
        ("work", {"WEBHOOK_ROOT_FILE": "/dev/null"}, "VOKETAG_WEBHOOK_ROOT"),
        ("work", {"ANCHOR_TARGET": ""}, "VOKETAG_ANCHOR_TARGET"),
        ("nonsense", {}, "serve | work | migrate"),
    ],
)
async def test_process_that_cannot_start_says_why(
    ground: Ground, tmp_path: Path, command: str, change: dict[str, str], said: str
) -> None:
    own = Ground(ground.database, ground.valkey, ground.secrets, tmp_path)
    child = own.process(command, **{"LISTEN_PORT": free_port(), "ANCHOR_TARGET": "127.0.0.1:1", **change})
    await child.start()
    assert await asyncio.wait_for(child.wait(), 30) != 0
    assert said in (tmp_path / f"{command}.log").read_text()
