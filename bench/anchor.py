"""SubmitRoot and BatchSubmitRoots beside a bare INSERT and COPY in one run, windows, and a day of 1,000,000 batches.

Run: python -m bench.anchor [--quick]. Client, server, PostgreSQL and chain are processes of their
own; what is compared takes turns, and the ratio is that of the medians. PostgreSQL is durable.
The day is compressed: its 1,440 windows follow each other without the minutes between them.
"""

import asyncio
import logging
import secrets
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

import asyncpg
import structlog
import uvloop
from voketag.anchor.v1 import anchor_pb2 as pb
from voketag.anchor.v1.anchor_pb2_grpc import AnchorServiceStub

from anchor.proofs import proves
from mesh.client import peer
from mesh.clock import SystemClock, new_id
from mesh.database import connect
from mesh.identity import ServiceTokens
from mesh.local.secrets import Secrets
from tests.databases import Database, Databases
from tests.integration.anchor.processes import running
from tests.integration.anchor.world import Ground, World
from tests.servers import PASSWORD, PostgresAddress, free_port, start_anvil, start_postgres
from trust.canonical import SubjectKind

if TYPE_CHECKING:
    from voketag.anchor.v1.anchor_pb2_grpc import AnchorServiceAsyncStub

CALLERS, FEWER = 64, 16
MANY = 10_000
TABLES = ("submissions", "trees", "tiles", "stamps", "transactions", "attempts")
ROUNDS = 5
DAY = 1_000_000
WINDOWS_A_DAY = 1_440
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
        calm = [await took(lambda: stub.SubmitRoot(request())) for _ in range(300)]
        bare_calm = [await took(insert) for _ in range(300)]
    submit, bare = statistics.median(rates["submit"]), statistics.median(rates["insert"])
    p95 = statistics.quantiles(latencies, n=20)[18]
    print(f"SubmitRoot, one process, {CALLERS} callers  {submit:7,.0f}/s   P95 {p95:.1f} ms")
    print(f"bare INSERT, {pool.get_max_size()} connections           {bare:7,.0f}/s")
    print(f"SubmitRoot ÷ bare INSERT                {submit / bare:7.2f}")
    p95 = statistics.quantiles(eased, n=20)[18]
    print(f"SubmitRoot, one process, {FEWER} callers    {fewer:7,.0f}/s   P95 {p95:.1f} ms")
    alone, bare_alone = (statistics.quantiles(spent, n=20)[18] for spent in (calm, bare_calm))
    print(f"SubmitRoot, one caller                  P95 {alone:.1f} ms beside {bare_alone:.1f} ms of a bare INSERT")


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
    print(f"BatchSubmitRoots, {MANY:,} a call, one caller  {submit:9,.0f} roots/s")
    print(f"COPY into two unique indexes             {bare:9,.0f} rows/s")
    print(f"BatchSubmitRoots ÷ COPY                  {submit / bare:9.2f}")


async def fill(world: World, count: int) -> None:
    """Pending roots, as SubmitRoot leaves them."""
    rows = [(new_id(), new_id(), SubjectKind.BATCH, 1000, secrets.token_bytes(32)) for _ in range(count)]
    columns = ["submission_id", "subject_id", "kind", "size", "root"]
    await world.pool.copy_records_to_table("submissions", records=rows, columns=columns)


async def window(world: World, count: int) -> None:
    """One window: tree, rows and transaction; a proof of it; what it takes on disk."""
    before = await stored(world.pool)
    await fill(world, count)
    fence = await world.lead()
    delivery = world.deliver(fence)
    begun = time.perf_counter()
    await world.submitter.round(fence, delivery)
    took = time.perf_counter() - begun
    await world.reach(*["final"] * len(await world.states()))
    await world.journal.release(fence)
    world.fence = 0
    proofs = await prove(world, await newest(world, 200))
    gas = await gas_of(world)
    growth = (await stored(world.pool) - before) / count
    print(f"window of {count:7,}: tree, rows, signed and sent in {took:5.2f} s; {proofs};")
    print(f"                   {gas:,} gas, {gas / count:.2f} a root; {growth:.0f} B a root in tables and indexes")


async def newest(world: World, count: int) -> list[UUID]:
    query = "SELECT subject_id FROM submissions ORDER BY tree_id DESC, hashint4(leaf_index) LIMIT $1"
    return [row["subject_id"] for row in await world.pool.fetch(query, count)]


async def anywhere(world: World, count: int) -> list[UUID]:
    query = "SELECT subject_id FROM submissions TABLESAMPLE SYSTEM (2) ORDER BY random() LIMIT $1"
    return [row["subject_id"] for row in await world.pool.fetch(query, count)]


async def prove(world: World, subjects: list[UUID]) -> str:
    """Proofs of these batches, each read from PostgreSQL, and the time that checking them takes."""
    made, checked, longest = [], [], 0
    for subject_id in subjects:
        begun = time.perf_counter()
        anchor = await world.store.find(SubjectKind.BATCH, subject_id)
        assert anchor is not None
        proof = await world.proofs.of(anchor)
        made.append((time.perf_counter() - begun) * 1000)
        assert proof is not None
        begun = time.perf_counter()
        assert proves(proof, anchor.submission)
        checked.append((time.perf_counter() - begun) * 1000)
        longest = max(longest, 32 * len(proof.path))
    p95, check = (statistics.quantiles(spent, n=20)[18] for spent in (made, checked))
    return f"proof P95 {p95:.2f} ms, {longest} B, checked in P95 {check:.3f} ms"


async def gas_of(world: World) -> int:
    """What the newest registration cost."""
    hash_ = await world.pool.fetchval("SELECT hash FROM transactions ORDER BY tree_id DESC LIMIT 1")
    receipt = await world.ground.rpc("eth_getTransactionReceipt", "0x" + hash_.hex())
    return int(receipt["gasUsed"], 16)


async def rebuilt(database: Database) -> None:
    """Tables and indexes without the room that updated rows left."""
    owner = await asyncpg.connect(database.dsn)
    for table in TABLES:
        await owner.execute(f"VACUUM FULL anchor.{table}")
    await owner.close()


async def day(world: World, database: Database, windows: int) -> None:
    """The windows of a day one after the other; what of it is stuck, what it costs, and proofs out of all of it."""
    before, roots = await stored(world.pool), DAY // WINDOWS_A_DAY
    spent: list[float] = []
    fence = await world.lead()
    delivery = world.deliver(fence)
    for _ in range(windows):
        await fill(world, roots)
        begun = time.perf_counter()
        await world.submitter.round(fence, delivery)
        spent.append(time.perf_counter() - begun)
    await world.reach(*["final"] * windows)
    batches = await world.pool.fetchval("SELECT count(*) FROM submissions")
    stuck = await world.pool.fetchval("SELECT count(*) FROM submissions WHERE tree_id IS NULL")
    assert (batches, stuck) == (windows * roots, 0)
    growth = (await stored(world.pool) - before) / batches
    await rebuilt(database)
    dense = (await stored(world.pool) - before) / batches
    gas = await gas_of(world)
    p95 = statistics.quantiles(spent, n=20)[18] * 1000
    print(f"a day of {batches:,} batches in {windows:,} windows: {sum(spent):.0f} s of work, nothing stuck;")
    print(f"                   a window P95 {p95:.0f} ms; {growth:.0f} B a batch, {dense:.0f} B when rebuilt;")
    print(f"                   {await prove(world, await anywhere(world, 500))}")
    print(f"                   {gas:,} gas a window: {gas / roots:.1f} a batch, 1/{roots} of a transaction a batch")


async def stored(pool: Any) -> int:
    """Bytes of everything a root leaves behind, but its audit and idempotency rows."""
    await pool.execute("SELECT pg_stat_clear_snapshot()")
    return sum([await pool.fetchval("SELECT pg_total_relation_size($1::text::regclass)", name) for name in TABLES])


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
                world = World(pool, ground, window_roots=100_000)
                for count in (1_000,) if quick else (10_000, 100_000):
                    await window(world, count)
        async with databases.clone("anchor") as database:
            async with await connect(database.settings("anchor"), schema="anchor") as pool:
                day_world = World(pool, ground, window_roots=100_000)
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
