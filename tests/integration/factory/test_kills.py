"""Rounds of kill -9 of server, worker, PostgreSQL and Valkey during an import and an order.

A round is its seed: `pytest tests/integration/factory/test_kills.py -k seed7`.
"""

import asyncio
import os
from collections.abc import AsyncIterator
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import pytest
import pytest_asyncio
from voketag.factory.v1 import factory_pb2, webhook_pb2

from mesh.local.secrets import Secrets
from tests.databases import Databases
from tests.fakes.final_anchor import FinalAnchor
from tests.integration.factory.kills import VICTIMS, Clients, Stand, Strike, persistently, schedule
from tests.integration.factory.receivers import Receiver, hooks, receiving
from tests.integration.factory.world import Ground, Import, eventually
from tests.servers import PASSWORD, PostgresAddress, ValkeyAddress, start_postgres, start_valkey
from trust import canonical, merkle
from trust.token import check

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.xdist_group("kills")]

SHORT, LONG = 20_000, 200_000
SEEDS = range(1, 31)
PATIENCE_SECONDS = 300
SHORT_SEEDS = (3, 17, 28)
ROUNDS = [
    *[pytest.param(seed, SHORT, id=f"short-seed{seed}") for seed in SHORT_SEEDS],
    *[pytest.param(seed, LONG, id=f"seed{seed}", marks=[pytest.mark.long, pytest.mark.timeout(400)]) for seed in SEEDS],
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stand(tmp_path_factory: pytest.TempPathFactory, anchor: FinalAnchor) -> AsyncIterator[Stand]:
    folder = tmp_path_factory.mktemp("kills")
    folder.chmod(0o755)
    secrets = Secrets(folder / "secrets", os.urandom)
    secrets.make()
    postgres = await start_postgres(folder)
    valkey = await start_valkey(folder)
    address = PostgresAddress("127.0.0.1", postgres.port, "voketag", PASSWORD, postgres.dsn())
    try:
        async with Databases(address).clone("factory") as database:
            yield Stand(Ground(database, ValkeyAddress(valkey.url), secrets, folder), postgres, valkey, anchor)
    finally:
        await valkey.stop()
        await postgres.stop()


@pytest.mark.parametrize(("seed", "row_count"), ROUNDS)
async def test_nothing_acknowledged_is_lost_whoever_dies(stand: Stand, seed: int, row_count: int) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS), stand.running():
        factory_id, key = await persistently(stand.door.new_factory)
        async with (
            stand.door.returning(factory_id, key) as customer,
            receiving() as receiver,
            hooks(customer) as asked,
        ):
            request_id = str(uuid4())
            endpoint = await persistently(lambda: asked.create(receiver.url, request_id=request_id))
            clients = Clients(customer, row_count)
            async with asyncio.TaskGroup() as group:
                running = group.create_task(clients.run())
                group.create_task(_strikes(stand, clients, seed))
            imported, ordered = running.result()
            # The last strike may have hit the server, which is about to start again: hence persistently.
            assert await persistently(lambda: verified(stand, clients, imported, row_count)) == clients.tokens
            await persistently(lambda: verified(stand, clients, ordered, clients.order.product_count))
            assert await persistently(lambda: repeated(clients, row_count)) == imported
            assert (await clients.create()).batch == ordered
            await no_job_is_left(stand)
            await told(receiver, endpoint, [imported.batch_id, ordered.batch_id])


async def told(receiver: Receiver, hook: webhook_pb2.CreateEndpointResponse, batch_ids: list[str]) -> None:
    """Of every batch its completion arrives once or more, under one id and signed."""

    async def all_came() -> bool:
        return {event["subject"] for event in completions()} == {f"batch/{batch_id}" for batch_id in batch_ids}

    def completions() -> list[dict[str, Any]]:
        return [each.event for each in receiver.received if each.event["type"] == "batch.completed"]

    await eventually(all_came, within=60)
    assert len({event["id"] for event in completions()}) == len(batch_ids)
    for each in receiver.received:
        assert each.id == each.event["id"]
        assert each.verified(hook.secret, hook.endpoint.public_key)


async def _strikes(stand: Stand, clients: Clients, seed: int) -> None:
    async def all_on(victim: str) -> None:
        for strike in schedule(seed):
            if strike.victim == victim:
                await eventually(partial(_done, clients, strike), within=PATIENCE_SECONDS, every=0.002)
                await asyncio.sleep(strike.after)
                print(f"{victim} dies: {len(clients.tokens)} rows acknowledged, {clients.share('worker')} of the order")
                await stand.strike(victim)

    async with asyncio.TaskGroup() as group:
        for victim in VICTIMS:
            group.create_task(all_on(victim))


async def _done(clients: Clients, strike: Strike) -> bool:
    return clients.share(strike.victim) >= strike.share


async def repeated(clients: Clients, row_count: int) -> factory_pb2.Batch:
    """The batch that the same header gives again."""
    header = {"name": clients.header.name, "template": clients.header.template}
    again = await Import(clients.customer, clients.header.request_id, **header).open()
    assert again.next_row == row_count
    return await again.end(row_count)


async def verified(stand: Stand, clients: Clients, batch: factory_pb2.Batch, count: int) -> list[str]:
    """Tokens of a completed batch: each product is there once, its tag is ours, the root is the root of them."""
    assert batch.state == factory_pb2.BATCH_STATE_COMPLETED, batch
    assert batch.product_count == batch.issued_count == count
    batch_id, keyring = UUID(batch.batch_id).bytes, stand.ground.keyring
    leaves: list[bytes] = []
    tokens: list[str] = []
    async for product in clients.exported(batch.batch_id):
        assert product["index"] == len(leaves)
        product_id = UUID(product["product_id"]).bytes
        token = check(keyring, product["token"])
        assert token is not None
        assert token.product_id == product_id
        tokens.append(product["token"])
        digest = canonical.attributes_digest(canonical.attributes_bytes(product["attributes"]))
        leaves.append(merkle.leaf_hash(canonical.product_leaf(batch_id, len(leaves), product_id, digest)))
    assert len(set(tokens)) == count
    assert merkle.root(leaves) == batch.root == stand.anchor.submitted[batch.batch_id].root
    async with stand.ground.owner() as owner:
        assert await owner.fetchval("SELECT count(*) FROM products WHERE batch_id = $1", batch.batch_id) == count
    return tokens


async def no_job_is_left(stand: Stand) -> None:
    async with stand.ground.owner() as owner:

        async def none() -> bool:
            return not await owner.fetchval("SELECT count(*) FROM pgqueuer WHERE entrypoint LIKE 'batch.%'")

        await eventually(none, within=60)
