"""kill -9 by a seeded schedule: what stands behind the public door and dies, and callers that scan all the while."""

import asyncio
import random
import sys
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Sequence, Sized
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple
from uuid import UUID

import grpc
from redis.asyncio import Redis

from mesh.local.postgres import PostgresServer
from mesh.local.process import Child
from mesh.local.valkey import ValkeyServer
from mesh.tasks import end
from scan.stream import stream_key
from tests.crashes import crash
from tests.fakes.final_anchor import FinalAnchor
from tests.integration.scan.calls import GENUINE, P, Stub, outcomes, verify
from tests.integration.scan.world import HASTY, Batch, Database, Service, anywhere, connected, stub_of
from tests.servers import start_postgres, start_valkey

SCANS = ("scan 0", "scan 1")
LASTING = ("PostgreSQL", "Valkey")
VICTIMS = (*SCANS, "writer", *LASTING)
CALLERS = 8
PACE_SECONDS = 0.005
PATIENCE_SECONDS = 60
AWAY_SECONDS = 1.0
AGAIN_SECONDS = 0.05
BETWEEN = (10, 50, 200)
BUDGETS = ("SCAN", "DEVICE", "CODE", "FACTORY")
SETTINGS = {
    **{f"VOKETAG_{budget}_{part}": "1000000" for budget in BUDGETS for part in ("PER_SECOND", "BURST")},
    "VOKETAG_JOURNAL_LEASE_SECONDS": "2",
    **HASTY,
}
AT_ONCE = (("grpc.initial_reconnect_backoff_ms", 100), ("grpc.max_reconnect_backoff_ms", 300))

OF_PRODUCTS = "SELECT event_id, verdict FROM scan.events WHERE product_id = ANY($1)"
SIGNED = """SELECT count(*) > 0 AND bool_and(submitted_at IS NOT NULL)
AND max(size) = (SELECT count(*) FROM scan.events) FROM scan.ledger_checkpoints"""
EXACT = "SELECT (SELECT sum(scans) FROM scan.day_totals) = (SELECT count(*) FROM scan.events)"


@dataclass(frozen=True)
class Strike:
    """The kill of a victim `after` so many more scans on record; PostgreSQL and Valkey stay `away` for seconds."""

    victim: str
    after: int
    away: float


def schedule(seed: int, more: int) -> list[Strike]:
    """Each victim once and `more` of them again, in any order; at times several at once."""
    seeded = random.Random(seed)
    victims = [*VICTIMS, *seeded.choices(VICTIMS, k=more)]
    seeded.shuffle(victims)
    return [Strike(v, seeded.choice((0, *BETWEEN)), seeded.uniform(0, AWAY_SECONDS)) for v in victims]


@dataclass
class Stand:
    """Two servers and a writer that are started again whenever they die, PostgreSQL and Valkey of their own."""

    folder: Path
    postgres: PostgresServer
    valkey: ValkeyServer
    anchor: FinalAnchor
    database: Database
    services: list[Service] = field(init=False)

    def __post_init__(self) -> None:
        self.services = [
            Service(self.folder, self.database, self.valkey.url, self.anchor.target, **SETTINGS) for _ in SCANS
        ]
        environment = {**self.services[0].environment, "VOKETAG_METRICS_PORT": "0"}
        command = [sys.executable, "-m", "scan", "journal"]
        self._writer = Child("writer", command, log=self.folder / "writer.log", env=environment)
        self._turn: dict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """`stubs` are the two servers'; all three processes die for good in the end."""
        children = [*[service.child for service in self.services], self._writer]
        keeping = [asyncio.create_task(_kept_alive(child)) for child in children]
        targets = [service.target for service in self.services]
        channels = [grpc.aio.insecure_channel(target, options=AT_ONCE) for target in targets]
        try:
            self.stubs = [stub_of(channel) for channel in channels]
            yield
        finally:
            await end(*keeping)
            for channel in channels:
                await channel.close()
            for child in children:
                await child.kill()

    async def strike_all(self, strikes: Sequence[Strike], recorded: Sized) -> None:
        """Returns once all that died is being started again."""
        async with asyncio.TaskGroup() as group, asyncio.timeout(PATIENCE_SECONDS):
            for strike in strikes:
                due = len(recorded) + strike.after
                while len(recorded) < due:
                    await asyncio.sleep(PACE_SECONDS)
                group.create_task(self._strike(strike))

    async def _strike(self, strike: Strike) -> None:
        async with self._turn[strike.victim]:
            print(f"{strike.victim} dies")
            match strike.victim:
                case "PostgreSQL" | "Valkey":
                    server = self.postgres if strike.victim == "PostgreSQL" else self.valkey
                    await crash(server)
                    await asyncio.sleep(strike.away)
                    await server.start()
                case "writer":
                    await self._writer.kill()
                case server_name:
                    await self.services[SCANS.index(server_name)].child.kill()


@asynccontextmanager
async def standing(folder: Path) -> AsyncIterator[Stand]:
    """A stand that runs."""
    folder.chmod(0o755)
    postgres = await start_postgres(folder, durable=True)
    valkey = await start_valkey(folder, durable=True)
    anchor = FinalAnchor()  # type: ignore[abstract]
    await anchor.start()
    database = Database(postgres.dsn())
    await database.create()
    stand = Stand(folder, postgres, valkey, anchor, database)
    async with stand.running():
        yield stand
    for stoppable in (anchor, valkey, postgres):
        await stoppable.stop()


async def _kept_alive(child: Child) -> None:
    while True:
        await child.start()
        await child.wait()


class Seen(NamedTuple):
    """What an answer says was checked (tag, product, scan history, anchor), and whether the scan is on record."""

    outcomes: tuple[int, ...]
    degraded: bool
    recorded: bool


NORMAL = Seen((P, P, P, P), degraded=False, recorded=True)


class Callers:
    """Each product has one owner with a phone of their own, who scans it again and again at either server."""

    def __init__(self, stubs: Sequence[Stub], batch: Batch) -> None:
        self._stubs = stubs
        self.batch = batch
        self._owners = [(token, anywhere()) for token in batch.tokens]
        self.recorded: dict[UUID, int] = {}
        self.seen: Counter[Seen] = Counter()
        self.failed = 0
        self.longest = 0.0

    @property
    def open(self) -> int:
        """Calls whose scan may be there or not."""
        return self.failed + sum(count for seen, count in self.seen.items() if not seen.recorded)

    @property
    def degraded(self) -> int:
        return sum(count for seen, count in self.seen.items() if seen.degraded)

    @asynccontextmanager
    async def calling(self) -> AsyncIterator[None]:
        """They go on through whatever breaks."""
        stop = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            for number in range(CALLERS):
                group.create_task(self._call(number, stop))
            try:
                yield
            finally:
                stop.set()

    async def _call(self, number: int, stop: asyncio.Event) -> None:
        turn = number
        while not stop.is_set():
            token, phone = self._owners[turn % len(self._owners)]
            normal = await self._scan(self._stubs[turn // CALLERS % len(self._stubs)], token, phone)
            turn += CALLERS
            await asyncio.sleep(PACE_SECONDS if normal else AGAIN_SECONDS)

    async def _scan(self, stub: Stub, token: str, phone: tuple[tuple[str, str], ...]) -> bool:
        """Whether all is as it should be."""
        begun = time.perf_counter()
        try:
            answer = await verify(stub, token, metadata=phone)
        except grpc.aio.AioRpcError:
            self.failed += 1
            return False
        finally:
            self.longest = max(self.longest, time.perf_counter() - begun)
        seen = Seen(tuple(outcomes(answer)), answer.degraded, answer.recorded)
        self.seen[seen] += 1
        if answer.recorded:
            assert UUID(answer.scan_id) not in self.recorded
            self.recorded[UUID(answer.scan_id)] = answer.verdict
        return seen == NORMAL

    async def until_normal(self) -> None:
        """Both servers judge and record as if nothing had been."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            for stub in self._stubs:
                while not await self._scan(stub, *self._owners[0]):
                    await asyncio.sleep(PACE_SECONDS)


async def until_journalled_and_signed(stand: Stand) -> None:
    """Nothing waits in the stream, and Anchor has a checkpoint of all there is."""
    async with asyncio.timeout(PATIENCE_SECONDS), connected(stand.database.owner_dsn) as owner:
        async with Redis.from_url(stand.valkey.url) as client:
            while await client.xlen(stream_key(0)):
                await asyncio.sleep(0.05)
        while not await owner.fetchval(SIGNED):
            await asyncio.sleep(0.05)


async def assert_on_record(stand: Stand, callers: Callers) -> None:
    """What was answered as recorded is there once, as it was told; what else is there is of calls without an answer."""
    async with connected(stand.database.owner_dsn) as owner:
        rows = await owner.fetch(OF_PRODUCTS, callers.batch.product_ids)
        assert await owner.fetchval(EXACT)
    found = {row["event_id"]: row["verdict"] for row in rows}
    assert len(found) == len(rows)
    assert callers.recorded.items() <= found.items(), f"{len(callers.recorded.keys() - found.keys())} scans are lost"
    assert set(found.values()) == {GENUINE}
    assert len(found) - len(callers.recorded) <= callers.open
