"""The journal's writer beside a raw COPY of the same rows in one run, and how far it lags behind a steady stream.

Run: python -m bench.journal [--quick]. Writer, Valkey, PostgreSQL and whoever scans are processes of their own;
PostgreSQL and Valkey are durable as they are in the local mesh; the ledger is the real one, with its tiles.
"""

import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import uvloop
from redis.asyncio import Redis

from bench.processes import family_cpu
from mesh.clock import new_id
from mesh.local.postgres import PostgresServer
from mesh.migrate import ensure_roles
from scan.event import Envelope
from scan.journal import COLUMNS
from scan.stream import Stream, stream_key
from scan.writer import Pace
from tests.databases import Database, bring_up
from tests.integration.anchor.processes import running
from tests.integration.scan.journals import World, envelope
from tests.servers import PASSWORD, PostgresAddress, start_postgres, start_valkey

ROUNDS = 5
STEADY = 3_000
FACTORIES = [new_id().bytes for _ in range(20)]
BATCHES = [new_id().bytes for _ in range(200)]
TICK_SECONDS = 0.02
REFERENCE = "CREATE TABLE public.reference (LIKE scan.events INCLUDING ALL)"


@asynccontextmanager
async def worlds(folder: Path) -> AsyncIterator[tuple[World, PostgresServer]]:
    postgres, valkey = await start_postgres(folder, durable=True), await start_valkey(folder)
    address = PostgresAddress("127.0.0.1", postgres.port, "voketag", PASSWORD, postgres.dsn())
    world = World(Database("postgres", address), valkey)
    async with world.owner() as owner:
        await ensure_roles(owner, {"scan": PASSWORD})
        await bring_up(owner, "scan")
        await owner.execute(REFERENCE)
    try:
        yield world, postgres
    finally:
        await valkey.stop()
        await postgres.stop()


async def until_offset(owner: "asyncpg.Connection[Any]", last: str) -> None:
    async with asyncio.timeout(120):
        while await owner.fetchval("SELECT last_id FROM scan.stream_offset") != last:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.005)


def a_scan(number: int) -> Envelope:
    """A product of its own, of one of so many batches and factories."""
    batch, factory = BATCHES[number % len(BATCHES)], FACTORIES[number % len(FACTORIES)]
    return envelope(counts=3, batch_id=batch, factory_id=factory)


async def fill(world: World, count: int) -> str:
    """Scans in the stream; the id of the last."""
    for start in range(0, count, 1_000):
        await world.add(*[a_scan(number) for number in range(start, min(start + 1_000, count))])
    async with world.lanes() as lanes:
        return (await Stream(lanes).backlog(0)).last_id


async def copied(owner: "asyncpg.Connection[Any]", count: int) -> float:
    """Rows a second of a COPY of the last so many events into a table that is the same but for its months."""
    rows = await owner.fetch(f"SELECT {', '.join(COLUMNS)} FROM scan.events ORDER BY ledger_index DESC LIMIT $1", count)
    records = [tuple(row) for row in rows]
    begun = time.perf_counter()
    await owner.copy_records_to_table("reference", schema_name="public", records=records, columns=COLUMNS)
    return count / (time.perf_counter() - begun)


async def racing(world: World, postgres: PostgresServer, count: int) -> None:
    rates: dict[str, list[float]] = {"journal": [], "copy": []}
    spent: list[list[float]] = []
    async with running("scan", "journal", env=world.environment()) as writer, world.owner() as owner:
        pids = [writer.pid, postgres.child.pid or 0, world.server.child.pid or 0]
        await world.add_some(1)
        await world.until_written()
        for _ in range(ROUNDS):
            async with world.owner() as other, other.transaction():
                await other.execute("SELECT FROM scan.stream_offset FOR UPDATE")  # holds the writer up
                last = await fill(world, count)
                cpu, begun = [family_cpu(pid) for pid in pids], time.perf_counter()
            await until_offset(owner, last)
            rates["journal"].append(count / (time.perf_counter() - begun))
            spent.append([(family_cpu(pid) - before) / count * 1e6 for pid, before in zip(pids, cpu, strict=True)])
            rates["copy"].append(await copied(owner, count))
    journal, copy = (statistics.median(rates[name]) for name in ("journal", "copy"))
    print(f"journal, one writer, groups of 2,000    {journal:9,.0f} scans/s")
    cost = "   ".join(
        f"{name} {statistics.median(parts):.0f}"
        for name, parts in zip(("writer", "PostgreSQL", "Valkey"), zip(*spent, strict=True), strict=True)
    )
    print(f"  CPU, us a scan: {cost}")
    print(f"COPY of the same rows, one transaction  {copy:9,.0f} rows/s")
    print(f"journal ÷ COPY                          {journal / copy:9.2f}")
    print("target: 10,000 scans/s on its own; 1 s behind at most at 3,000 scans/s")


async def scanning(url: str, seconds: float) -> None:
    """STEADY scans a second into the stream, however long each write takes; a process of its own."""
    async with Redis.from_url(url) as client:
        begun, sent = time.perf_counter(), 0
        while (now := time.perf_counter() - begun) < seconds:
            async with client.pipeline(transaction=False) as pipe:
                while sent < now * STEADY:
                    fields: Any = a_scan(sent).fields()
                    pipe.xadd(stream_key(0), fields)
                    sent += 1
                await pipe.execute()
            await asyncio.sleep(TICK_SECONDS)
    print(sent)


async def lagging(world: World, seconds: float) -> None:
    lags: list[float] = []
    pace = Pace().poll  # tests hurry
    async with running("scan", "journal", env=world.environment(journal_poll_seconds=pace)) as writer:
        await world.add_some(1)
        await world.until_trimmed()
        feeder = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "bench.journal", "--feed", world.server.url, str(seconds)),
            stdout=asyncio.subprocess.PIPE,
        )
        cpu = family_cpu(writer.pid)
        async with world.lanes() as lanes:
            while feeder.returncode is None:
                lags.append((await Stream(lanes).backlog(0)).seconds)
                await asyncio.sleep(0.05)
        said, _ = await feeder.communicate()
        await world.until_trimmed()
        busy = (family_cpu(writer.pid) - cpu) / seconds
    p95 = statistics.quantiles(lags, n=20)[18]
    print(f"{int(said) / seconds:,.0f} scans/s for {seconds:.0f} s: the oldest scan that waits is")
    print(f"  P95 {p95:.2f} s old, at most {max(lags):.2f} s; the writer takes {busy:.0%} of a core")


async def main() -> None:
    quick = "--quick" in sys.argv
    with tempfile.TemporaryDirectory() as folder:
        async with worlds(Path(folder)) as (world, postgres):
            await racing(world, postgres, 10_000 if quick else 40_000)
            await lagging(world, 5 if quick else 20)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--feed"]:
        uvloop.run(scanning(sys.argv[2], float(sys.argv[3])))
    else:
        uvloop.run(main())
