"""ImportProducts against issuing as it is usually built (bench/classical.py), in turn on the same servers.

Run from the repository: python -m bench.race [ROUNDS]. Both are one process each, both store every product durably
before they answer with its token, both get the same described products from one client in batches of 1,000, four at a
time; then one batch of 20,000.
"""

import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import grpc
import uvloop
from voketag.factory.v1 import factory_pb2_grpc

from bench.classical import SCHEMA
from bench.factory import chunk, ground, import_products, quantile, server
from bench.processes import cpu_seconds, family_cpu
from mesh.local.process import Child
from tests.integration.factory.world import Ground
from tests.servers import free_port

BATCH = 1_000
LARGE = 20_000
BATCHES = 40
AT_ONCE = 4
FIELDS = ("sku", "gtin", "serial", "name", "market", "expiry")
Issue = Callable[[int], Awaitable[int]]


@dataclass(frozen=True, slots=True)
class Runner:
    """One of the two: what orders a batch of so many, and its process."""

    name: str
    issue: Issue
    pid: int


@dataclass(frozen=True, slots=True)
class Result:
    """One round of a runner: products a second in small batches and in a large one, ms a small batch, µs of CPU."""

    rate: float
    large_rate: float
    latencies: list[float]
    server_cpu: float
    database_cpu: float


async def round_of(runner: Runner, postmaster: int) -> Result:
    latencies: list[float] = []
    room = asyncio.Semaphore(AT_ONCE)

    async def one() -> None:
        async with room:
            started = time.perf_counter()
            assert await runner.issue(BATCH) == BATCH
            latencies.append((time.perf_counter() - started) * 1e3)

    before = cpu_seconds(runner.pid), family_cpu(postmaster)
    started = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(BATCHES):
            group.create_task(one())
    seconds = time.perf_counter() - started
    after = cpu_seconds(runner.pid), family_cpu(postmaster)
    started = time.perf_counter()
    assert await runner.issue(LARGE) == LARGE
    products = BATCH * BATCHES
    server_cpu, postgres_cpu = ((end - begin) / products * 1e6 for begin, end in zip(before, after, strict=True))
    return Result(products / seconds, LARGE / (time.perf_counter() - started), latencies, server_cpu, postgres_cpu)


@asynccontextmanager
async def classical(on: Ground) -> AsyncIterator[Runner]:
    port = free_port()
    async with on.owner() as owner:
        await owner.execute(SCHEMA)
    command = [sys.executable, "-m", "bench.classical", str(port), on.database.dsn, on.valkey.url]
    child = Child("classical", command, log=on.folder / "classical.log", env=on.environment())
    await child.start()
    url = f"http://127.0.0.1:{port}"
    try:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(60)) as session:
            await _ready(session, url)

            async def issue(count: int) -> int:
                rows = [{field: getattr(row, field) for field in FIELDS} for row in chunk(0, count).rows]
                async with session.post(f"{url}/v1/batches", json={"name": "race", "products": rows}) as answer:
                    assert answer.status == 200, await answer.text()
                    return len((await answer.json())["tokens"])

            assert child.pid is not None
            yield Runner("classical", issue, child.pid)
    finally:
        await child.stop()


async def _ready(session: aiohttp.ClientSession, url: str) -> None:
    async with asyncio.timeout(20):
        while True:
            try:
                async with session.get(f"{url}/ready") as answer:
                    answer.raise_for_status()
                    return
            except aiohttp.ClientConnectionError:
                await asyncio.sleep(0.05)


@asynccontextmanager
async def voketag(on: Ground) -> AsyncIterator[Runner]:
    async with server(on) as (door, child), grpc.aio.insecure_channel(door.target) as channel:
        stub = factory_pb2_grpc.FactoryServiceStub(channel)
        keys = [(await door.new_factory())[1] for _ in range(8)]  # each has a budget of streams a minute
        turn = iter(range(1 << 30))

        async def issue(count: int) -> int:
            return await import_products(stub, (("x-api-key", keys[next(turn) % len(keys)]),), count)

        assert child.pid is not None
        yield Runner("voketag", issue, child.pid)


def say(name: str, results: list[Result]) -> None:
    def middle(figure: str) -> float:
        return statistics.median(getattr(result, figure) for result in results)

    latencies = [value for result in results for value in result.latencies]
    print(
        f"{name:<10} batches of {BATCH:,}: {middle('rate'):>8,.0f} products/s, P50 {quantile(latencies, 0.5):6.1f},"
        f" P95 {quantile(latencies, 0.95):6.1f} ms; one of {LARGE:,}: {middle('large_rate'):>8,.0f}/s;"
        f" CPU a product: server {middle('server_cpu'):.1f}, PostgreSQL {middle('database_cpu'):.1f} µs"
    )


async def main(rounds: int) -> None:
    with tempfile.TemporaryDirectory(prefix="voketag-bench-") as name:
        Path(name).chmod(0o755)
        async with ground(Path(name)) as (on, postmaster), classical(on) as theirs, voketag(on) as ours:
            results: dict[str, list[Result]] = {theirs.name: [], ours.name: []}
            for runner in (theirs, ours):
                await runner.issue(BATCH)
            for _ in range(rounds):
                for runner in (theirs, ours):
                    results[runner.name].append(await round_of(runner, postmaster))
    for name, of_runner in results.items():
        say(name, of_runner)
    for words, figure in (("batches of 1,000", "rate"), ("one large batch", "large_rate")):
        pairs = zip(results["voketag"], results["classical"], strict=True)
        ratio = statistics.median(getattr(ours, figure) / getattr(theirs, figure) for ours, theirs in pairs)
        print(f"voketag / classical, {words}: {ratio:.1f}")


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 5))
