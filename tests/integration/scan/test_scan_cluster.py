"""The scan service and its journal on a cluster of three nodes, while slots move and a node dies and comes back."""

import asyncio
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID

import grpc
import pytest
from voketag.scan.v1 import scan_pb2

from mesh.cluster import slot_of
from scan.shard import shard_of
from scan.stream import hash_tag
from tests.clusters import ClusterNode, ValkeyCluster
from tests.fakes.anchor import FakeAnchor
from tests.integration.scan.calls import GENUINE, Stub, verify
from tests.integration.scan.test_scan_faults import GENEROUS, ONE_PHONE
from tests.integration.scan.test_scan_recorded import start_journal
from tests.integration.scan.world import HASTY, Batch, Database, Service, connected, stub_of
from tests.servers import PostgresAddress, start_cluster

SHARDS, PRODUCTS, CALLERS = 12, 48, 8
PATIENCE_SECONDS = 30


@dataclass
class Ground:
    cluster: ValkeyCluster
    database: Database
    stub: Stub
    batch: Batch
    answers: dict[UUID, list[scan_pb2.VerifyResponse]] = field(default_factory=lambda: defaultdict(list))

    async def scan(self, number: int) -> scan_pb2.VerifyResponse:
        answer = await verify(self.stub, self.batch.tokens[number], metadata=ONE_PHONE)
        self.answers[self.batch.product_ids[number]].append(answer)
        return answer

    async def until(self, number: int, *, degraded: bool) -> scan_pb2.VerifyResponse:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while (answer := await self.scan(number)).degraded is not degraded:
                await asyncio.sleep(0.02)
        return answer

    @asynccontextmanager
    async def load(self) -> AsyncIterator[None]:
        """Callers that scan one product after the other and never stop."""
        stop = asyncio.Event()

        async def caller(first: int) -> None:
            number = first
            while not stop.is_set():
                await self.scan(number % PRODUCTS)
                number += CALLERS

        callers = [asyncio.create_task(caller(first)) for first in range(CALLERS)]
        try:
            yield
        finally:
            stop.set()
            await asyncio.gather(*callers)

    def shard(self, number: int) -> int:
        return shard_of(self.batch.product_ids[number].bytes, SHARDS)

    async def on(self, node: ClusterNode) -> list[int]:
        """The products that lie on a node."""
        return [
            number
            for number in range(PRODUCTS)
            if await self.cluster.owner(slot_of(hash_tag(self.shard(number)))) is node
        ]

    async def rows(self) -> Counter[UUID]:
        async with connected(self.database.owner_dsn) as owner:
            found = await owner.fetch("SELECT product_id, count(*) FROM scan.events GROUP BY product_id")
        return Counter({row["product_id"]: row["count"] for row in found})

    async def assert_recorded_once(self) -> None:
        """Every scan that was answered is one row; nothing comes after the last."""
        given = [answer for answers in self.answers.values() for answer in answers]
        assert all(answer.recorded for answer in given)
        assert {answer.verdict for answer in given} == {GENUINE}
        async with asyncio.timeout(PATIENCE_SECONDS):
            while (await self.rows()).total() < len(given):
                await asyncio.sleep(0.05)
        assert await self.rows() == {product_id: len(answers) for product_id, answers in self.answers.items()}


@pytest.fixture
async def ground(postgres: PostgresAddress, tmp_path: Path) -> AsyncIterator[Ground]:
    cluster = await start_cluster(tmp_path, durable=True)  # a node that is killed has all that it answered
    anchor, database = FakeAnchor(), Database(postgres.dsn)  # type: ignore[abstract]
    await anchor.start()
    await database.create()
    settings = GENEROUS | HASTY | {"VOKETAG_VALKEY_CLUSTER": "1", "VOKETAG_JOURNAL_SHARDS": str(SHARDS)}
    service = Service(tmp_path, database, cluster.url, anchor.target, **settings)
    await service.start()
    journal = await start_journal(service, tmp_path)
    async with grpc.aio.insecure_channel(service.target) as channel:
        yield Ground(cluster, database, stub_of(channel), await database.batch(PRODUCTS, state="COMPLETED"))
    await journal.stop()
    for stoppable in (service, anchor, cluster):
        await stoppable.stop()
    await database.drop()


async def test_scans_go_on_while_their_shards_move(ground: Ground) -> None:
    async with ground.load():
        for shard in range(SHARDS):
            slot = slot_of(hash_tag(shard))
            source = await ground.cluster.owner(slot)
            target = ground.cluster.nodes[ground.cluster.nodes.index(source) - 1]
            await ground.cluster.move(slot, target)
        for number in range(PRODUCTS):
            await ground.until(number, degraded=False)
    await ground.assert_recorded_once()
    for answers in ground.answers.values():
        counted = [answer.scan_count for answer in answers if not answer.degraded]
        assert max(counted) >= len(counted), "the counts went along"


async def test_a_node_that_dies_degrades_its_products_alone_and_loses_none(ground: Ground) -> None:
    dead = ground.cluster.nodes[1]
    hit = await ground.on(dead)
    spared = [number for number in range(PRODUCTS) if number not in hit]
    assert hit
    assert spared
    async with ground.load():
        before = await ground.until(hit[0], degraded=False)
        await dead.kill()
        for number in hit:
            await ground.until(number, degraded=True)
        written = (await ground.rows())[ground.batch.product_ids[spared[0]]]
        async with asyncio.timeout(PATIENCE_SECONDS):
            while (await ground.rows())[ground.batch.product_ids[spared[0]]] < written + 20:
                await asyncio.sleep(0.05)
        await dead.start()
        for number in hit:
            after = await ground.until(number, degraded=False)
        assert (await ground.until(hit[0], degraded=False)).scan_count > before.scan_count, "its file kept the counts"
        assert after.scan_count > 0
    for number in spared:
        assert not any(answer.degraded for answer in ground.answers[ground.batch.product_ids[number]])
    await ground.assert_recorded_once()
