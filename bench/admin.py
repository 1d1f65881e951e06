"""Dashboard, analytics of 90 days, fraud and audit pages as people ask for them, over data of two sizes in turns.

Run from the repository: python -m bench.admin [PRODUCTS SCANS] [--rate R] [--seconds S] [--turns N]. It makes the data
that bench/admin_data.py says, a tenth of it and all, unless BENCH_DATA names a folder with it, starts a real service
over each, and asks the two in turns on a schedule, a call's time running from the moment that it was due. What a call
costs is told of calls one after the other, for which CPU is counted. Beside them in the same run: the health check,
which does nothing, and `SELECT 1` to the same PostgreSQL. The whole is `20000000 50000000`.
"""

import argparse
import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from random import Random
from typing import Any

import asyncpg
import grpc
import uvloop

from admin.tokens import TokenKeys
from bench.admin_asks import BOUNDS, WEIGHTS, Ask, Known, Metadata, asks, people
from bench.admin_ground import Place, place
from bench.load import quantile
from bench.processes import family_cpu
from tests.integration.admin.figures import admin_process
from tests.servers import free_port

WARM_SECONDS = 5.0
GROWTH = 1.2
ROUNDS = 10
PEOPLE = 50
SHARE = 10
"""The smaller data is a part in so many of the other."""
KNOWN_FACTORIES = "SELECT factory_id::text FROM admin.factory_rollups GROUP BY 1 ORDER BY sum(scans) DESC, 1"
KNOWN_PRODUCTS = "SELECT product_id::text FROM scan.events WHERE verdict = 3 ORDER BY event_id DESC LIMIT 1000"


@dataclass
class Asker:
    """Calls to one service, and the microseconds that they took, by kind and name."""

    place: Place
    pid: int
    asks: dict[str, list[Ask]]
    keys: TokenKeys
    postgres: "asyncpg.Pool[Any]"
    took: dict[tuple[str, str], list[int]] = field(default_factory=lambda: defaultdict(list))
    random: Random = field(default_factory=lambda: Random(1))
    people: Sequence[Metadata] = ()

    async def run(self, rate: float, seconds: float) -> None:
        """So many calls a second, mixed, and one to PostgreSQL for each twenty; people's tokens count for minutes."""
        self.people = people(self.keys, PEOPLE)
        began = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for number in range(int(rate * seconds)):
                due = began + number / rate
                await asyncio.sleep(max(due - time.perf_counter(), 0))
                [kind] = self.random.choices(list(WEIGHTS), list(WEIGHTS.values()))
                group.create_task(self._timed(self.random.choice(self.asks[kind]), due))
                if number % 20 == 0:
                    group.create_task(self._select(due))

    async def cost(self, kind: str, calls: int) -> tuple[float, float]:
        """Microseconds of CPU in PostgreSQL and in the service of so many calls of a kind, one after the other."""
        before = self._cpu()
        for number in range(calls):
            await self._call(self.asks[kind][number % len(self.asks[kind])])
        after = self._cpu()
        return (after[0] - before[0]) * 1e6, (after[1] - before[1]) * 1e6

    def _cpu(self) -> tuple[float, float]:
        return family_cpu(self.place.postmaster), family_cpu(self.pid)

    async def _call(self, ask: Ask) -> None:
        await ask.method(ask.request(self.random), metadata=self.random.choice(self.people), timeout=30)

    async def _timed(self, ask: Ask, due: float) -> None:
        await self._call(ask)
        self.took[ask.kind, ask.name].append(int((time.perf_counter() - due) * 1e6))

    async def _select(self, due: float) -> None:
        await self.postgres.fetchval("SELECT 1")
        self.took["SELECT 1", ""].append(int((time.perf_counter() - due) * 1e6))


@asynccontextmanager
async def asker(scans: int, products: int) -> AsyncIterator[Asker]:
    """A service over data of this size, and who asks it."""
    async with AsyncExitStack() as stack:
        at = await stack.enter_async_context(place(scans, products))
        port = free_port()
        child = admin_process(at.ground, listen_port=port, log_level="error")
        await child.start()
        stack.push_async_callback(child.stop)
        channel = await stack.enter_async_context(grpc.aio.insecure_channel(f"127.0.0.1:{port}"))
        await asyncio.wait_for(channel.channel_ready(), 30)
        pool = await stack.enter_async_context(asyncpg.create_pool(at.ground.database.dsn, min_size=2, max_size=2))
        known = Known(
            [row[0] for row in await pool.fetch(KNOWN_FACTORIES)], [row[0] for row in await pool.fetch(KNOWN_PRODUCTS)]
        )
        assert child.pid is not None
        keys = TokenKeys.from_json(at.ground.secrets.user_keys.read_text())
        yield Asker(at, child.pid, asks(channel, at.size, known), keys, pool)


def told(one: Asker) -> dict[str, float]:
    """Prints what calls took: P95 by kind, in milliseconds."""
    print(f"{one.place.size.scans:,} scans of {one.place.size.products:,} products")
    p95 = {}
    for kind in (*WEIGHTS, "SELECT 1"):
        times = [took for (of, _), found in one.took.items() if of == kind for took in found]
        p95[kind] = quantile(times, 95) / 1e3
        bound = f"  (at most {BOUNDS[kind]:.0f})" if kind in BOUNDS else ""
        print(f"  {kind:21} {_line(times)}{bound}")
    for kind, name in sorted(one.took):
        if kind in BOUNDS:
            print(f"    {kind}: {name:21} {_line(one.took[kind, name])}")
    return p95


def _line(times: Sequence[int]) -> str:
    cuts = "   ".join(f"P{percent} {quantile(times, percent) / 1e3:6.1f}" for percent in (50, 95, 99))
    return f"{len(times):6,} calls   {cuts} ms"


async def compare(askers: Sequence[Asker], options: Any) -> None:
    """In turns; then what each kind of call costs."""
    for one in askers:
        await one.run(options.rate, WARM_SECONDS)
        one.took.clear()
    for _ in range(options.turns):
        for one in askers:
            await one.run(options.rate, options.seconds)
    small, large = (told(one) for one in askers)
    for kind in BOUNDS:
        ratio = large[kind] / small[kind]
        parts: list[list[tuple[float, float]]] = [[], []]
        for _ in range(ROUNDS):
            for one, spent in zip(askers, parts, strict=True):
                spent.append(await one.cost(kind, options.calls // ROUNDS))
        costs = [[sum(part) / options.calls for part in zip(*spent, strict=True)] for spent in parts]
        print(
            f"{kind}: P95 × {ratio:.2f} out of {SHARE} times the scans (at most {GROWTH}); CPU of a call: "
            + ", then ".join(f"{cost[0]:,.0f} µs in PostgreSQL and {cost[1]:,.0f} in the service" for cost in costs)
        )


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("products", type=int, nargs="?", default=400_000)
    parser.add_argument("scans", type=int, nargs="?", default=1_000_000)
    for name, default in (("rate", 100), ("seconds", 20), ("turns", 3), ("calls", 600)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    async with (
        asker(options.scans // SHARE, options.products // SHARE) as small,
        asker(options.scans, options.products) as large,
    ):
        await compare((small, large), options)


if __name__ == "__main__":
    uvloop.run(main())
