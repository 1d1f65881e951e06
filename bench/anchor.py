"""SubmitRoot and BatchSubmitRoots beside a bare INSERT and COPY in one run, windows, and a day of 1,000,000 batches.

Run: python -m bench.anchor [--quick]. Client, server, PostgreSQL and chain are processes of their
own; what is compared takes turns, and the ratio is that of the medians. PostgreSQL is durable.
"""

import asyncio
import logging
import secrets
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg
import structlog
import uvloop
from grpc.aio import AioRpcError
from voketag.anchor.v1 import anchor_pb2 as pb
from voketag.anchor.v1.anchor_pb2_grpc import AnchorServiceStub

from bench.anchor_day import LARGE, WINDOWS_A_DAY, day, window
from bench.figures import p95, told
from mesh.client import peer
from mesh.clock import SystemClock, new_id
from mesh.database import connect
from mesh.identity import ServiceTokens
from mesh.local.secrets import Secrets
from tests.databases import Database, Databases
from tests.integration.anchor.processes import running
from tests.integration.anchor.world import Ground, World
from tests.servers import PASSWORD, PostgresAddress, free_port, start_anvil, start_postgres

if TYPE_CHECKING:
    from voketag.anchor.v1.anchor_pb2_grpc import AnchorServiceAsyncStub

CALLERS, FEWER = 64, 16
MANY = 10_000
RATE = 2_000
ROUNDS = 5
REFERENCE = "CREATE TABLE reference (id uuid PRIMARY KEY, subject uuid UNIQUE, root bytea, size bigint)"
Call = Callable[[], Awaitable[object]]


async def flood(call: Call, count: int, callers: int = CALLERS) -> tuple[float, list[float]]:
    """Calls a second with so many callers at once, and each call's milliseconds."""
    spent: list[float] = []
    left = count

    async def caller() -> None:
        nonlocal left
        while left > 0:
            left -= 1
            begun = time.perf_counter()
            await call()
            spent.append((time.perf_counter() - begun) * 1000)

    begun = time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(callers)))
    return count / (time.perf_counter() - begun), spent


@asynccontextmanager
async def server(database: Database, folder: Path) -> AsyncIterator["AnchorServiceAsyncStub"]:
    """`python -m anchor serve`, one process, and the factory's stub."""
    held = Secrets(folder / "secrets", secrets.token_bytes)
    held.make()
    port = free_port()
    env = {
        "DATABASE_URL": database.url("anchor"),
        "DATABASE_PASSWORD": database.server.password,
        "LISTEN_HOST": "127.0.0.1",
        "LISTEN_PORT": str(port),
        "SERVICE_KEY_FILE": str(held.identity("anchor")),
        "JWKS_FILE": str(held.jwks),
        "USER_JWKS_FILE": str(held.user_jwks),
        "LOG_LEVEL": "error",
    }
    tokens = ServiceTokens("factory", held.identity("factory").read_text(), SystemClock())
    async with running("anchor", "serve", env={f"VOKETAG_{name}": value for name, value in env.items()}):
        async with peer(f"127.0.0.1:{port}", tokens=tokens, service="anchor") as line:
            await asyncio.wait_for(line.channel_ready(), 20)
            yield AnchorServiceStub(line)


def request() -> pb.SubmitRootRequest:
    return pb.SubmitRootRequest(
        request_id=str(new_id()), batch_id=str(new_id()), root=secrets.token_bytes(32), size=1000
    )


async def submitting(database: Database, folder: Path, count: int) -> None:
    """SubmitRoot through a server, beside a bare INSERT from this process, in turn."""
    pool = await connect(database.settings("anchor"), schema="anchor")
    owner = await asyncpg.connect(database.dsn)
    await owner.execute(f"{REFERENCE}; GRANT ALL ON reference TO voketag_anchor")
    await owner.close()

    async def insert() -> None:
        values = (new_id(), new_id(), secrets.token_bytes(32), 1000)
        await pool.execute("INSERT INTO public.reference VALUES ($1, $2, $3, $4)", *values)

    rates: dict[str, list[float]] = {"submit": [], "insert": []}
    latencies: list[float] = []
    async with pool, server(database, folder) as stub:
        await flood(lambda: stub.SubmitRoot(request()), CALLERS * 4)
        for _ in range(ROUNDS):
            rate, spent = await flood(lambda: stub.SubmitRoot(request()), count)
            rates["submit"].append(rate)
            latencies += spent
            rates["insert"].append((await flood(insert, count))[0])
        fewer, eased = await flood(lambda: stub.SubmitRoot(request()), count, FEWER)
        offered, late = await offer(lambda: stub.SubmitRoot(request()), RATE, 2 if count < 1000 else 10)
        calm = [await took(lambda: stub.SubmitRoot(request())) for _ in range(300)]
        bare_calm = [await took(insert) for _ in range(300)]
    submit, bare = statistics.median(rates["submit"]), statistics.median(rates["insert"])
    told(f"SubmitRoot, one process, {CALLERS} callers at once", f"{submit:,.0f}/s", "2,000/s")
    told("  P95", f"{p95(latencies):.1f} ms")
    told(f"bare INSERT, {pool.get_max_size()} connections", f"{bare:,.0f}/s")
    told("SubmitRoot ÷ bare INSERT", f"{submit / bare:.2f}")
    told(f"SubmitRoot, {FEWER} callers at once", f"{fewer:,.0f}/s")
    told("  P95", f"{p95(eased):.1f} ms")
    told(f"SubmitRoot, {RATE:,}/s offered: answered", f"{offered:,.0f}/s")
    told("  median from the time it was due", f"{statistics.median(late):.1f} ms")
    told("  P95 from the time it was due, committed", f"{p95(late):.1f} ms", "15 ms")
    told("SubmitRoot, one caller P95", f"{p95(calm):.1f} ms")
    told("bare INSERT, one caller P95", f"{p95(bare_calm):.1f} ms")


async def offer(call: Call, rate: int, seconds: float) -> tuple[float, list[float]]:
    """Calls at fixed times, whether or not others were answered: answers a second, and each one's milliseconds.

    They are counted from the time when the call was due, so that a client which is late hides nothing.
    """
    spent: list[float] = []
    begun = time.perf_counter()

    async def one(due: float) -> None:
        with suppress(AioRpcError):  # no answer in time: it is missing among the answers
            await call()
            spent.append((time.perf_counter() - due) * 1000)

    async with asyncio.TaskGroup() as calls:
        for number in range(int(rate * seconds)):
            due = begun + number / rate
            if (wait := due - time.perf_counter()) > 0:
                await asyncio.sleep(wait)
            calls.create_task(one(due))
    return len(spent) / (time.perf_counter() - begun), spent


async def took(call: Call) -> float:
    """Milliseconds of one call."""
    begun = time.perf_counter()
    await call()
    return (time.perf_counter() - begun) * 1000


async def submitting_many(database: Database, folder: Path, calls: int) -> None:
    """BatchSubmitRoots through a server, beside COPY of the same rows from this process, in turn."""
    pool = await connect(database.settings("anchor"), schema="anchor")
    rates: dict[str, list[float]] = {"submit": [], "copy": []}
    async with pool, server(database, folder) as stub:
        for _ in range(calls):
            roots = [pb.RootOffer(batch_id=str(new_id()), root=secrets.token_bytes(32), size=1000) for _ in range(MANY)]
            begun = time.perf_counter()
            answer = await stub.BatchSubmitRoots(pb.BatchSubmitRootsRequest(request_id=str(new_id()), roots=roots))
            rates["submit"].append(MANY / (time.perf_counter() - begun))
            assert all(outcome.status == pb.ROOT_STATUS_ACCEPTED for outcome in answer.outcomes)
            rows = [(new_id(), new_id(), secrets.token_bytes(32), 1000) for _ in range(MANY)]
            begun = time.perf_counter()
            await pool.copy_records_to_table("reference", schema_name="public", records=rows)
            rates["copy"].append(MANY / (time.perf_counter() - begun))
    submit, bare = statistics.median(rates["submit"]), statistics.median(rates["copy"])
    told(f"BatchSubmitRoots, {MANY:,} a call, one caller", f"{submit:,.0f} roots/s", "20,000 roots/s")
    told("COPY into two unique indexes", f"{bare:,.0f} rows/s")
    told("BatchSubmitRoots ÷ COPY", f"{submit / bare:.2f}")


async def main(folder: Path, *, quick: bool) -> None:
    """Prints every figure."""
    postgres = await start_postgres(folder, durable=True)
    chain = await start_anvil(folder)
    address = PostgresAddress("127.0.0.1", postgres.port, "voketag", PASSWORD, postgres.dsn())
    try:
        databases = Databases(address)
        async with databases.clone("anchor") as database:
            await submitting(database, folder, 500 if quick else 3000)
            await submitting_many(database, folder, 3 if quick else 9)
        async with databases.clone("anchor") as database:
            ground = await Ground.lay(chain.url)
            async with await connect(database.settings("anchor"), schema="anchor") as pool:
                world = World(pool, ground, window_roots=LARGE)
                for count in (1_000,) if quick else (10_000, LARGE):
                    await window(world, count)
        async with databases.clone("anchor") as database:
            async with await connect(database.settings("anchor"), schema="anchor") as pool:
                day_world = World(pool, ground, window_roots=LARGE)
                await day(day_world, database, 20 if quick else WINDOWS_A_DAY)
            await ground.web3.provider.disconnect()
    finally:
        await chain.kill()
        await postgres.stop()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)  # PostgreSQL may run as another user
        structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
        uvloop.run(main(Path(name), quick="--quick" in sys.argv))
