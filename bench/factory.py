"""ImportProducts, and files in and out, over real gRPC beside a raw COPY of the same rows; and batches of 1,000.

Run from the repository: python -m bench.factory [PRODUCTS]. Server, client and PostgreSQL are processes of their own;
each one's CPU is by /proc, memory is the peak of the resident set (VmHWM).
"""

import asyncio
import json
import os
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID, uuid4

import grpc
import uvloop
from voketag.factory.v1 import factory_pb2, factory_pb2_grpc, table_pb2, table_pb2_grpc

from bench.processes import cpu_seconds, family_cpu
from factory.importing import check_rows
from factory.issuing import Rows, Tree
from factory.minting import COLUMNS, Minter, Tokens, raw_uuid7
from mesh.local.process import Child
from mesh.local.secrets import Secrets
from tests.databases import Databases
from tests.integration.factory.world import Door, Ground
from tests.servers import PASSWORD, PostgresAddress, ValkeyAddress, free_port, start_postgres, start_valkey
from trust.keyring import Key, KeyState
from trust.tiles import TileBuilder
from trust.token import Keyring

T = TypeVar("T")
CHUNK = 1_000
IN_FLIGHT = 8
SMALL = 10_000
LATENCY_BATCHES = 150
BATCHES_A_FACTORY = 15
RAW_TABLE = "CREATE TABLE raw_products (LIKE factory.products, PRIMARY KEY (product_id))"


@dataclass(frozen=True, slots=True)
class Spent:
    """One import: seconds, and CPU seconds and peak memory of both ends."""

    seconds: float
    client_cpu: float
    client_peak: int
    server_cpu: float
    server_peak: int
    database_cpu: float


def peak_kib(pid: int | str = "self") -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


def chunk(first: int, count: int) -> factory_pb2.ImportChunk:
    rows = [
        factory_pb2.ImportRow(
            sku=f"SKU-{number % 500:04d}",
            gtin="4006381333931",
            serial=f"{number:010d}",
            name="Running shoe, blue, size 42",
            market="BR",
            expiry="2030-01-31",
        )
        for number in range(first, first + count)
    ]
    return factory_pb2.ImportChunk(first_row=first, rows=rows)


async def import_products(stub: Any, metadata: Any, count: int) -> int:
    """Imports so many rows: the tokens acknowledged."""
    call = stub.ImportProducts(metadata=metadata)
    header = factory_pb2.ImportHeader(request_id=str(uuid4()), name="bench")
    await call.write(factory_pb2.ImportProductsRequest(header=header))
    assert (await call.read()).opened.next_row == 0
    room = asyncio.Semaphore(IN_FLIGHT)

    async def send() -> None:
        for first in range(0, count, CHUNK):
            await room.acquire()
            await call.write(factory_pb2.ImportProductsRequest(chunk=chunk(first, min(CHUNK, count - first))))

    sending = asyncio.create_task(send())
    tokens = 0
    for _ in range(0, count, CHUNK):
        tokens += len((await call.read()).ack.tokens)
        room.release()
    await sending
    await call.write(factory_pb2.ImportProductsRequest(end=factory_pb2.ImportEnd(row_count=count)))
    assert (await call.read()).completed.batch.product_count == count
    assert await call.read() is grpc.aio.EOF
    return tokens


def csv_pieces(count: int) -> Iterator[bytes]:
    """The same rows as a file, in pieces of a thousand lines."""
    yield b"sku,gtin,serial,name,market,expiry\n"
    for first in range(0, count, CHUNK):
        lines = (
            f'SKU-{number % 500:04d},4006381333931,{number:010d},"Running shoe, blue, size 42",BR,2030-01-31\n'
            for number in range(first, min(first + CHUNK, count))
        )
        yield "".join(lines).encode()


async def tables(on: Ground, count: int) -> dict[str, float]:
    """Seconds of one import of a CSV file by a server of its own, and of its exports."""
    seconds = {}
    async with server(on) as (door, child), grpc.aio.insecure_channel(door.target) as channel:
        _, key = await door.new_factory()
        stub, metadata = table_pb2_grpc.TableServiceStub(channel), (("x-api-key", key),)
        header = table_pb2.CsvHeader(request_id=str(uuid4()), name="bench")
        frames = [table_pb2.ImportCsvRequest(header=header)]
        frames.extend(table_pb2.ImportCsvRequest(data=piece) for piece in csv_pieces(count))
        started = time.perf_counter()
        answer = await stub.ImportCsv(iter(frames), metadata=metadata)
        seconds["ImportCsv"] = time.perf_counter() - started
        assert answer.batch.product_count == count
        del frames
        for name, form in table_pb2.ExportFormat.items()[1:]:
            request = table_pb2.ExportProductsRequest(batch_id=answer.batch.batch_id, format=form)
            started, lines = time.perf_counter(), 0
            async for piece in stub.ExportProducts(request, metadata=metadata):
                lines += piece.data.count(b"\n")
            seconds[f"ExportProducts {name.removeprefix('EXPORT_FORMAT_')}"] = time.perf_counter() - started
            assert lines == count + (form == table_pb2.EXPORT_FORMAT_CSV)
        assert child.pid is not None
        print(f"peak memory of the server of tables: {peak_kib(child.pid) // 1024} MiB")
    return seconds


async def client(target: str, key: str, count: int) -> None:
    """The client's process: imports once, and says what it took."""
    async with grpc.aio.insecure_channel(target) as channel:
        stub = factory_pb2_grpc.FactoryServiceStub(channel)
        started, cpu = time.perf_counter(), time.process_time()
        assert await import_products(stub, (("x-api-key", key),), count) == count
        spent = (time.perf_counter() - started, time.process_time() - cpu, peak_kib())
    print(json.dumps(spent))


@asynccontextmanager
async def ground(folder: Path) -> AsyncIterator[tuple[Ground, int]]:
    """A database server that keeps what it acknowledged, a Valkey; and the database server's process id."""
    postgres, valkey = await start_postgres(folder, durable=True), await start_valkey(folder)
    secrets = Secrets(folder / "secrets", os.urandom)
    secrets.make()
    address = PostgresAddress("127.0.0.1", postgres.port, "voketag", PASSWORD, postgres.dsn())
    try:
        async with Databases(address).clone("factory") as database:
            assert postgres.child.pid is not None
            yield Ground(database, ValkeyAddress(valkey.url), secrets, folder), postgres.child.pid
    finally:
        await valkey.stop()
        await postgres.stop()


@asynccontextmanager
async def server(on: Ground) -> AsyncIterator[tuple[Door, Child]]:
    """A new server process."""
    port = free_port()
    child = on.process("serve", LISTEN_HOST="127.0.0.1", LISTEN_PORT=port, LOG_LEVEL="error")
    await child.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            await asyncio.wait_for(channel.channel_ready(), 20)
        yield Door(on, f"127.0.0.1:{port}"), child
    finally:
        await child.stop()


async def measured_import(on: Ground, postmaster: int, count: int) -> Spent:
    """One import by new processes."""
    async with server(on) as (door, child):
        _, key = await door.new_factory()
        assert child.pid is not None
        server_cpu, postgres_cpu = cpu_seconds(child.pid), family_cpu(postmaster)
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "bench.factory",
            "client",
            door.target,
            key,
            str(count),
            stdout=asyncio.subprocess.PIPE,
        )
        output, _ = await process.communicate()
        seconds, client_cpu, client_peak = json.loads(output)
        return Spent(
            seconds,
            client_cpu,
            client_peak,
            cpu_seconds(child.pid) - server_cpu,
            peak_kib(child.pid),
            family_cpu(postmaster) - postgres_cpu,
        )


async def raw_copy(on: Ground, count: int) -> float:
    """Seconds of one COPY of the same rows, made beforehand, into a table of the same shape."""
    batch_id = raw_uuid7()
    minter = Minter(raw_uuid7, batch_id=batch_id, template=b"{}", kid=1)
    copies = []
    for first in range(0, count, 50_000):
        rows = chunk(first, min(50_000, count - first)).rows
        minted = minter.mint(first, check_rows(rows, first, {}).attributes)
        copies.append(minted.copy[19 if first else 0 : -2])

    async def source() -> AsyncIterator[bytes]:
        for copy in copies:
            yield copy
        yield b"\xff\xff"

    async with on.owner() as owner:
        await owner.execute(RAW_TABLE)
        started = time.perf_counter()
        await owner.copy_to_table("raw_products", source=source(), columns=COLUMNS, format="binary")
        return time.perf_counter() - started


async def built(on: Ground, count: int) -> float:
    """Seconds from the order of a batch to its finished tree, by one worker that is up already."""
    worker = on.process("work", ANCHOR_TARGET="127.0.0.1:1", LOG_LEVEL="error")
    await worker.start()
    try:
        async with server(on) as (door, _), door.customer() as customer:
            for size in (1, count):
                started = time.perf_counter()
                batch_id = (await customer.order(size, template={"gtin": "4006381333931"})).batch.batch_id
                call = customer.stub.WatchBatch(factory_pb2.WatchBatchRequest(batch_id=batch_id))
                async for answer in call:
                    if answer.batch.state == factory_pb2.BATCH_STATE_ANCHORING:
                        break
                seconds = time.perf_counter() - started
                call.cancel()
        return seconds
    finally:
        await worker.kill()


async def latencies(on: Ground) -> Iterator[tuple[str, list[float]]]:
    """Milliseconds of batches of 1,000, committed, tokens returned, one after the other."""
    created, imported = [], []
    async with server(on) as (door, _):
        for _ in range(LATENCY_BATCHES // BATCHES_A_FACTORY):
            async with door.customer() as customer:
                metadata = (("x-api-key", customer.key),)
                for _ in range(BATCHES_A_FACTORY):
                    started = time.perf_counter()
                    answer = await customer.order(1000, template={"gtin": "4006381333931"}, return_products=True)
                    created.append((time.perf_counter() - started) * 1e3)
                    assert len({UUID(product.product_id) for product in answer.products}) == 1000
                    started = time.perf_counter()
                    assert await import_products(customer.plain, metadata, 1000) == 1000
                    imported.append((time.perf_counter() - started) * 1e3)
    return iter((("CreateBatch", created), ("ImportProducts", imported)))


def digest_of(rows: factory_pb2.ImportChunk) -> bytes:
    return sha256(rows.SerializeToString(deterministic=True)).digest()


def reply_of(tokens: list[str]) -> bytes:
    return factory_pb2.ImportAck(tokens=tokens).SerializeToString()


def stages() -> dict[str, float]:
    """Microseconds of CPU a product by stage of the server, each run over the same hundred chunks."""
    requests = [
        factory_pb2.ImportProductsRequest(chunk=chunk(n * CHUNK, CHUNK)).SerializeToString() for n in range(100)
    ]
    keyring = Keyring({1: Key(bytes(32), KeyState.SIGNING)})
    minter, tokens = Minter(raw_uuid7, batch_id=raw_uuid7(), template=b"{}", kid=1), Tokens(keyring)
    tree, spent = Tree(TileBuilder(), 0), defaultdict[str, float](float)

    def run(stage: str, work: Callable[..., T], *arguments: Any) -> T:
        started = time.process_time()
        result = work(*arguments)
        spent[stage] += (time.process_time() - started) / (len(requests) * CHUNK) * 1e6
        return result

    for data in requests:
        rows = run("decode", factory_pb2.ImportProductsRequest.FromString, data).chunk
        digest = run("digest", digest_of, rows)
        checked = run("check", check_rows, rows.rows, rows.first_row, {})
        minted = run("mint", minter.mint, tree.size, checked.attributes)
        run("tree", tree.grow, Rows(0, CHUNK, digest), minted)
        issued = run("tokens", tokens.fresh, minted.ids)
        run("reply", reply_of, issued)
    return dict(spent)


def quantile(values: list[float], part: float) -> float:
    return statistics.quantiles(values, n=100)[round(part * 100) - 1]


async def main(count: int) -> None:
    with tempfile.TemporaryDirectory(prefix="voketag-bench-") as name:
        Path(name).chmod(0o755)
        async with ground(Path(name)) as (on, postmaster):
            small = await measured_import(on, postmaster, SMALL)
            large = await measured_import(on, postmaster, count)
            raw = await raw_copy(on, count)
            tree = await built(on, count)
            by_table = await tables(on, count)
            timed = await latencies(on)
    print(f"ImportProducts of {count:,}: {count / large.seconds:,.0f} products/s")
    print(f"raw COPY of the same rows: {count / raw:,.0f} products/s; ratio {raw / large.seconds:.2f}")
    for call, taken in by_table.items():
        print(f"{call} of {count:,}: {count / taken:,.0f} rows/s; ratio to raw COPY {raw / taken:.2f}")
    print(f"CreateBatch of {count:,}, built by one worker: {count / tree:,.0f} products/s")
    ends = (("client", large.client_cpu), ("server", large.server_cpu), ("PostgreSQL", large.database_cpu))
    print("CPU a product: " + ", ".join(f"{end} {seconds / count * 1e6:.1f} µs" for end, seconds in ends))
    print("of the server's: " + ", ".join(f"{stage} {cost:.2f}" for stage, cost in stages().items()))
    for end, before, after in (
        ("server", small.server_peak, large.server_peak),
        ("client", small.client_peak, large.client_peak),
    ):
        print(
            f"peak memory of the {end}: {before // 1024} MiB at {SMALL:,}, {after // 1024} MiB; {after / before:.2f} x"
        )
    for call, values in timed:
        print(f"{call} of 1,000: P50 {quantile(values, 0.5):.1f} ms, P95 {quantile(values, 0.95):.1f} ms")


if __name__ == "__main__":
    if sys.argv[1:2] == ["client"]:
        uvloop.run(client(sys.argv[2], sys.argv[3], int(sys.argv[4])))
    else:
        uvloop.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000))
