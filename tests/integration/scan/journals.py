"""What a journal stands on in tests: PostgreSQL with the schema `scan`, Valkey, scans in its stream."""

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from itertools import chain
from typing import Any

import asyncpg
from prometheus_client import CollectorRegistry
from pydantic import SecretStr
from redis.asyncio import Redis

from mesh import valkey
from mesh.clock import new_id
from mesh.cluster import lanes
from mesh.config import DatabaseSettings, SpreadSettings
from mesh.database import connect
from mesh.local.valkey import ValkeyServer
from mesh.pipeline import Lanes
from mesh.presence import Presence
from scan.counts import HEAD, Circumstances
from scan.event import NO_COUNTS, Envelope, Said, Source
from scan.factors import ProductState
from scan.journal import Journal
from scan.metrics import Metrics
from scan.stream import Stream, hash_tag, stream_key
from scan.writer import Pace, Writer
from tests.databases import Database
from tests.fakes.chain_ledger import ORIGIN, ChainLedger, chained, judge
from tests.fakes.keys import SERVICE_KEY, signer
from tests.servers import PASSWORD
from trust.ledger import NOT_SCORED, Event, genesis

PATIENCE_SECONDS = 60
PACE = Pace(poll=0.01, again=0.05, lease=2.0)
IN_ORDER = """SELECT product_id, event_id, at, verdict, risk, risk_version, personal, ledger_index
FROM scan.events ORDER BY ledger_index"""
NO_ROWS = -1
UNEVENTFUL = Circumstances(caller_known=False, state=ProductState.SHIPPED, revoked=False, market="BR", place=None)


def envelope(*, counts: int | None = 1, event_id: bytes | None = None, **said: Any) -> Envelope:
    """A scan of a product of its own."""
    fields: dict[str, Any] = {
        "batch_id": new_id().bytes,
        "factory_id": new_id().bytes,
        "prefix": os.urandom(16),
        "device": os.urandom(16),
        "country": "BR",
        "source": Source.UNARY,
        "facts": {"verdict": 1} | UNEVENTFUL.to_dict(blocked=False),
    }
    text = Said(**(fields | said)).to_json()
    told = HEAD.pack(1, 1, counts, 1, *[0] * 14) if counts else NO_COUNTS
    return Envelope(event_id or new_id().bytes, new_id().bytes, text, told)


class World:
    """A journal's database and stream, and the owner's eye on both."""

    def __init__(self, database: Database, server: ValkeyServer, *, cluster: bool = False) -> None:
        """With `cluster`, `server` is one of its nodes."""
        self.database = database
        self.server = server
        self.valkey_settings = SpreadSettings(
            valkey_url=f"redis://127.0.0.1:{server.port}/0", valkey_password=SecretStr(PASSWORD), valkey_cluster=cluster
        )
        self.added: list[Envelope] = []

    @property
    def settings(self) -> DatabaseSettings:
        return self.database.settings("scan").model_copy(update={"database_pool_min": 0})

    @asynccontextmanager
    async def owner(self) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
        connection = await asyncpg.connect(self.database.dsn)
        try:
            yield connection
        finally:
            await connection.close()

    @asynccontextmanager
    async def client(self) -> AsyncIterator[Redis]:
        client = valkey.client(self.valkey_settings)
        try:
            yield client
        finally:
            await client.aclose()

    @asynccontextmanager
    async def lanes(self) -> AsyncIterator[Lanes]:
        """As the journal has them: patient."""
        made = lanes(self.valkey_settings, Presence("Valkey"), timeout=2.0)
        await made.start(wait_seconds=10)
        try:
            yield made
        finally:
            await made.close()

    @asynccontextmanager
    async def pool(self) -> AsyncIterator["asyncpg.Pool[Any]"]:
        pool = await connect(self.settings, schema="scan")
        try:
            yield pool
        finally:
            pool.terminate()

    async def add(self, *envelopes: Envelope, shard: int = 0) -> None:
        """Appends to the stream, as the function in Valkey does."""
        async with self.lanes() as lanes:
            lane, key = lanes.at(hash_tag(shard)), stream_key(shard)
            fields = [chain.from_iterable(one.fields().items()) for one in envelopes]
            await asyncio.gather(*[lane.call("XADD", key, "*", *pairs) for pairs in fields])
        self.added += envelopes

    async def add_some(self, count: int) -> list[Envelope]:
        some = [envelope(counts=1 + number % 120) for number in range(count)]
        await self.add(*some)
        return some

    def environment(self, **changes: object) -> dict[str, str]:
        """For a writer in a process of its own."""
        values: dict[str, object] = {
            "database_url": self.settings.database_url,
            "database_password": PASSWORD,
            "valkey_url": self.valkey_settings.valkey_url,
            "valkey_password": PASSWORD,
            "valkey_cluster": self.valkey_settings.valkey_cluster,
            "journal_poll_seconds": 0.01,
            "journal_lease_seconds": 2,
            "service_key": SERVICE_KEY,
            "anchor_target": "127.0.0.1:1",
            "factory_target": "127.0.0.1:1",
            "ledger_key": signer(str(changes.get("ledger_origin", "voketag.com/scans"))).to_text(),
        }
        return {f"VOKETAG_{name.upper()}": str(value) for name, value in (values | changes).items()}

    @asynccontextmanager
    async def writing(self, **parts: Any) -> AsyncIterator[Metrics]:
        """A writer in this process, and its metrics."""
        stop = asyncio.Event()
        metrics = Metrics(CollectorRegistry())
        async with self.lanes() as lanes, self.pool() as pool:
            writer = Writer(
                pool,
                parts.get("stream", Stream)(lanes),
                parts.get("journal") or Journal(ChainLedger()),
                judge,
                shards=parts.get("shards", 1),
                entropy=os.urandom,
                metrics=metrics,
                pace=parts.get("pace", PACE),
            )
            async with asyncio.TaskGroup() as group:
                group.create_task(writer.run(stop))
                group.create_task(writer.watch(stop))
                try:
                    yield metrics
                finally:
                    stop.set()

    async def rows(self) -> int:
        """NO_ROWS while PostgreSQL is away."""
        try:
            async with self.owner() as owner:
                return int(await owner.fetchval("SELECT count(*) FROM scan.events"))
        except (OSError, asyncpg.PostgresError):
            return NO_ROWS

    async def until_written(self, count: int | None = None) -> None:
        wanted = len(self.added) if count is None else count
        async with asyncio.timeout(PATIENCE_SECONDS):
            while await self.rows() < wanted:
                await asyncio.sleep(0.02)

    async def until_trimmed(self, shard: int = 0) -> None:
        async with self.lanes() as lanes, asyncio.timeout(PATIENCE_SECONDS):
            while await lanes.at(hash_tag(shard)).call("XLEN", stream_key(shard)):
                await asyncio.sleep(0.01)

    async def events(self) -> list[asyncpg.Record]:
        async with self.owner() as owner:
            return list(await owner.fetch(IN_ORDER))

    async def assert_whole(self, wanted: Sequence[Envelope] | None = None, *, ordered: bool = True) -> None:
        """Every scan is there once, in the order of the stream, and the ledger is the chain of these rows."""
        rows = await self.events()
        found = [row["event_id"].bytes for row in rows]
        expected = [one.event_id for one in (self.added if wanted is None else wanted)]
        if ordered:
            assert found == expected
        else:
            assert sorted(found) == sorted(expected)
        assert [row["ledger_index"] for row in rows] == list(range(len(rows)))
        async with self.owner() as owner:
            size, last = await owner.fetchrow("SELECT size, last FROM public.chain")  # type: ignore[misc]
        assert (size, last) == (len(rows), chained(genesis(ORIGIN), [_entered(row) for row in rows]))


def _entered(row: asyncpg.Record) -> Event:
    risk = NOT_SCORED if row["risk"] is None else row["risk"]
    at = round(row["at"].timestamp() * 1000)
    ids = row["event_id"].bytes, row["product_id"].bytes
    return Event(*ids, at, row["verdict"], risk, row["risk_version"], row["personal"])
