"""SubmitRoot beside a bare INSERT in one run, windows of 10,000 and 100,000 roots, and the gas of a root.

Run: python -m bench.anchor [--quick]. Client, server, PostgreSQL and chain are processes of their
own; the two ways of inserting take turns, and the ratio is that of the medians. PostgreSQL is durable.
"""

import asyncio
import secrets
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncpg
import uvloop
from voketag.anchor.v1 import anchor_pb2 as pb
from voketag.anchor.v1.anchor_pb2_grpc import AnchorServiceStub

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

CALLERS = 64
ROUNDS = 5
DAY = 1_000_000
WINDOWS_A_DAY = 1_440
REFERENCE = "CREATE TABLE reference (id uuid PRIMARY KEY, subject uuid UNIQUE, root bytea, size bigint)"
Call = Callable[[], Awaitable[object]]


async def flood(call: Call, count: int) -> tuple[float, list[float]]:
    """Calls a second with CALLERS at once, and each call's milliseconds."""
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
    await asyncio.gather(*(caller() for _ in range(CALLERS)))
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
        calm = [(await flood_one(stub)) for _ in range(300)]
    submit, bare = statistics.median(rates["submit"]), statistics.median(rates["insert"])
    p95 = statistics.quantiles(latencies, n=20)[18]
    print(f"SubmitRoot, one process, {CALLERS} callers  {submit:7,.0f}/s   P95 {p95:.1f} ms")
    print(f"bare INSERT, {pool.get_max_size()} connections           {bare:7,.0f}/s")
    print(f"SubmitRoot ÷ bare INSERT                {submit / bare:7.2f}")
    print(f"SubmitRoot, one caller                  P95 {statistics.quantiles(calm, n=20)[18]:.1f} ms")


async def flood_one(stub: "AnchorServiceAsyncStub") -> float:
    begun = time.perf_counter()
    await stub.SubmitRoot(request())
    return (time.perf_counter() - begun) * 1000


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
    newest = await world.pool.fetch(
        "SELECT subject_id FROM submissions ORDER BY tree_id DESC, hashint4(leaf_index) LIMIT 200"
    )
    spent, longest = [], 0
    for row in newest:
        begun = time.perf_counter()
        anchor = await world.store.find(SubjectKind.BATCH, row["subject_id"])
        assert anchor is not None
        proof = await world.proofs.of(anchor)
        spent.append((time.perf_counter() - begun) * 1000)
        assert proof is not None
        longest = max(longest, 32 * len(proof.path))
    assert anchor is not None
    assert anchor.location is not None
    receipt = await world.ground.rpc("eth_getTransactionReceipt", "0x" + anchor.location.transaction.hex())
    gas = int(receipt["gasUsed"], 16)
    growth = (await stored(world.pool) - before) / count
    p95 = statistics.quantiles(spent, n=20)[18]
    print(f"window of {count:7,}: tree, rows, signed and sent in {took:5.2f} s; proof P95 {p95:.2f} ms, {longest} B;")
    print(f"                   {gas:,} gas, {gas / count:.2f} a root; {growth:.0f} B a root in tables and indexes")


async def stored(pool: Any) -> int:
    """Bytes of everything a root leaves behind, but its audit and idempotency rows."""
    await pool.execute("SELECT pg_stat_clear_snapshot()")
    tables = ("submissions", "trees", "tiles", "transactions", "attempts")
    return sum([await pool.fetchval("SELECT pg_total_relation_size($1::text::regclass)", name) for name in tables])


async def main(folder: Path, *, quick: bool) -> None:
    """Prints every figure."""
    postgres = await start_postgres(folder, durable=True)
    chain = await start_anvil(folder)
    address = PostgresAddress("127.0.0.1", postgres.port, "voketag", PASSWORD, postgres.dsn())
    try:
        databases = Databases(address)
        async with databases.clone("anchor") as database:
            await submitting(database, folder, 500 if quick else 3000)
        async with databases.clone("anchor") as database:
            ground = await Ground.lay(chain.url)
            async with await connect(database.settings("anchor"), schema="anchor") as pool:
                world = World(pool, ground, window_roots=100_000)
                for count in (1_000,) if quick else (10_000, 100_000):
                    await window(world, count)
            await ground.web3.provider.disconnect()
    finally:
        await chain.kill()
        await postgres.stop()
    print(f"at {DAY:,} roots a day in {WINDOWS_A_DAY:,} windows: 1/{DAY / WINDOWS_A_DAY:.0f} of one transaction a root")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)  # PostgreSQL may run as another user
        uvloop.run(main(Path(name), quick="--quick" in sys.argv))
