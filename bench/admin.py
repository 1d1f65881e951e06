"""Dashboard and analytics as people ask for them 100 times a second, over data of two sizes; and what counting costs.

Run from the repository: python -m bench.admin [--scans N] [--products N] [--seconds S] [--rate R]. It makes N / 5
scans, and then N in a database of their own, counts each as the service does, and asks a real server on a schedule: 7
in 10 calls are of the dashboard, the others of 90 days; 7 in 10 of either are of one factory. What is made is said in
bench/admin_data.py. The whole is `--scans 50000000 --products 20000000`, some 40 GB of disk and two hours.
"""

import argparse
import asyncio
import os
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from hashlib import md5
from pathlib import Path
from random import Random
from typing import Any
from uuid import UUID

import asyncpg
import grpc
import uvloop
from google.protobuf.timestamp_pb2 import Timestamp
from voketag.admin.v1 import dashboard_pb2, dashboard_pb2_grpc

from admin.rollups import Rollups
from admin.store import Store
from admin.tokens import AccessTokens, TokenKeys
from admin.users import User
from bench.admin_data import Size, fill
from bench.load import quantile
from bench.processes import family_cpu
from mesh import database
from mesh.clock import SystemClock
from mesh.local.secrets import Secrets
from tests.databases import Databases
from tests.integration.admin.figures import SCHEMAS, admin_process
from tests.integration.admin.world import Ground
from tests.servers import PASSWORD, PostgresAddress, free_port, start_postgres

PERIOD = timedelta(days=90)
WARM_SECONDS = 5.0


def people(keys: TokenKeys, count: int) -> list[tuple[tuple[str, str], ...]]:
    """The metadata of so many admins, so that no one's budget is used up."""
    tokens, now = AccessTokens(keys, SystemClock()), datetime.now(UTC)
    made: list[tuple[tuple[str, str], ...]] = []
    for number in range(count):
        user = User(UUID(int=number), "", "", "admin", None, "active", now, now)
        made.append((("authorization", f"Bearer {tokens.token(user)[0]}"), ("x-client-address", f"10.0.{number}.1")))
    return made


class Asker:
    """Calls on a schedule; a call's time runs from the moment that it was due."""

    def __init__(self, stub: Any, callers: list[Any], factories: int) -> None:
        self._stub = stub
        self._callers = callers
        self._factories = factories
        self._random = Random(1)
        self.took: dict[str, list[int]] = defaultdict(list)

    async def run(self, rate: float, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        async with asyncio.TaskGroup() as group:
            for number in range(int(rate * seconds)):
                due = began + number / rate
                await asyncio.sleep(max(due - loop.time(), 0))
                group.create_task(self._call(due))

    async def _call(self, due: float) -> None:
        chance = self._random.random()
        one = self._random.random() < 0.7
        number = int(self._factories * self._random.random() ** 2)
        factory = str(UUID(md5(f"factory{number}".encode()).hexdigest())) if one else ""
        metadata = self._random.choice(self._callers)
        name = "dashboard" if chance < 0.7 else "analytics"
        if name == "dashboard":
            await self._stub.GetDashboard(dashboard_pb2.GetDashboardRequest(factory_id=factory), metadata=metadata)
        else:
            tomorrow = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
            since, until = Timestamp(), Timestamp()
            since.FromDatetime(tomorrow - PERIOD)
            until.FromDatetime(tomorrow)
            request = dashboard_pb2.GetAnalyticsRequest(from_time=since, to_time=until, factory_id=factory)
            await self._stub.GetAnalytics(request, metadata=metadata)
        self.took[f"{name}, {'a factory' if one else 'everybody'}"].append(
            int((asyncio.get_running_loop().time() - due) * 1e6)
        )


async def counted(on: Ground, size: Size, postmaster: int) -> None:
    """Fills the database and counts it, as the service does."""
    began = time.perf_counter()
    owner = await asyncpg.connect(on.database.dsn)
    await fill(owner, size)
    await owner.close()
    print(f"{size.scans:,} scans of {size.products:,} products made in {time.perf_counter() - began:.0f} s")
    async with await database.connect(on.settings(), schema="admin") as pool:
        began, cpu, own = time.perf_counter(), family_cpu(postmaster), time.process_time()
        await Rollups(Store(pool), SystemClock()).run_once()
        seconds = time.perf_counter() - began
        spent = (family_cpu(postmaster) - cpu) * 1e6 / size.scans, (time.process_time() - own) * 1e6 / size.scans
    print(
        f"  counted: {size.scans / seconds:,.0f} scans/s, {spent[0]:.0f} µs of CPU in PostgreSQL and {spent[1]:.0f} in "
        "the process for each"
    )
    owner = await asyncpg.connect(on.database.dsn)
    await owner.execute("VACUUM ANALYZE")
    await owner.close()


@asynccontextmanager
async def served(on: Ground) -> AsyncIterator[tuple[Any, int]]:
    """A server with its loops."""
    port = free_port()
    child = admin_process(on, listen_port=port, log_level="error")
    await child.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            await asyncio.wait_for(channel.channel_ready(), 20)
            assert child.pid is not None
            yield dashboard_pb2_grpc.DashboardServiceStub(channel), child.pid
    finally:
        await child.stop()


async def measure(server: PostgresAddress, postmaster: int, size: Size, options: Any) -> dict[str, float]:
    """P95 in milliseconds by kind of call."""
    with tempfile.TemporaryDirectory() as folder:
        secrets = Secrets(Path(folder) / "secrets", os.urandom)
        secrets.make()
        async with Databases(server).clone(*SCHEMAS) as base:
            on = Ground(base, secrets, Path(folder))
            await counted(on, size, postmaster)
            async with served(on) as (stub, pid):
                callers = people(TokenKeys.from_json(secrets.user_keys.read_text()), 50)
                asker = Asker(stub, callers, size.factories)
                await asker.run(options.rate, WARM_SECONDS)
                asker.took.clear()
                cpu = family_cpu(postmaster), family_cpu(pid)
                await asker.run(options.rate, options.seconds)
                spent = [
                    (family_cpu(process) - before) * 1e6 / (options.rate * options.seconds)
                    for process, before in zip((postmaster, pid), cpu, strict=True)
                ]
    return told(asker.took, spent)


def told(took: dict[str, list[int]], spent: list[float]) -> dict[str, float]:
    p95 = {}
    for name, times in sorted(took.items()):
        cuts = {percent: quantile(times, percent) / 1e3 for percent in (50, 95, 99)}
        p95[name] = cuts[95]
        print(f"  {name:24} {len(times):6,} calls   " + "   ".join(f"P{k} {v:6.1f}" for k, v in cuts.items()) + " ms")
    print(f"  a call takes {spent[0]:,.0f} µs of CPU in PostgreSQL and {spent[1]:,.0f} in the server")
    return p95


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (("scans", 2_000_000), ("products", 800_000), ("seconds", 20), ("rate", 100)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        postgres = await start_postgres(Path(folder), durable=True)
        server = PostgresAddress("127.0.0.1", postgres.port, "voketag", PASSWORD, postgres.dsn())
        try:
            assert postgres.child.pid is not None
            small = Size(options.scans // 5, options.products // 5)
            before = await measure(server, postgres.child.pid, small, options)
            after = await measure(server, postgres.child.pid, Size(options.scans, options.products), options)
        finally:
            await postgres.stop()
    growth = {name: after[name] / before[name] for name in after}
    print("five times the scans: P95 × " + ", ".join(f"{ratio:.2f} ({name})" for name, ratio in growth.items()))
    print(f"  in the mean × {statistics.mean(growth.values()):.2f}")


if __name__ == "__main__":
    uvloop.run(main())
