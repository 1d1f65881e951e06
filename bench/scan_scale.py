"""A scan beside many products and events, and beside few: CPU of the service, of Valkey and of PostgreSQL, and P50.

Run: python -m bench.scan_scale [--products 20] [--events 10] [--counters 2] [--small 0.1] [--rounds 5], in millions.
Two worlds, each with a PostgreSQL and a Valkey of its own, take turns. Warm scans are of 5,000 products again and
again; first scans are of products that no process remembers, from anywhere in the table. Events are rows of
scan.events without the ledger's rows, which no scan reads, and short ones: their facts are empty. The default is 10M
of them and not 50M, and counters of 2M products, which is what 12 GB of disk and 8 minutes allow; whoever has more
says --events 50 --counters 20. Short: --products 1 --events 1 --counters 0.1 --rounds 1.
"""

import argparse
import asyncio
import shutil
import statistics
import struct
import tempfile
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from itertools import islice
from typing import Any
from uuid import UUID

from redis.asyncio import Redis

from bench.load import Figures, Plan, load, warm
from bench.processes import Spending
from bench.scanners import Ground, ground, scanning
from factory.minting import COLUMNS, raw_uuid7
from scan import journal
from scan.shard import product_key
from tests.integration.scan.world import connected, token_of

MILLION, CHUNK, PIPELINE = 1_000_000, 100_000, 1_000
WARM, FIRST = 5_000, 5_000
CONNECTIONS, LONGEST_SECONDS = 32, 60
NEEDED_BYTES = {"products": 120, "events": 320, "counters": 150}
"""A row with its index, or an entry with its line in the append-only file; and as much again for the log of writes."""
PG_EPOCH = 946_684_800
HEADER, TRAILER, NULL = b"PGCOPY\n\xff\r\n\x00" + bytes(8), b"\xff\xff", b"\xff\xff\xff\xff"
SIZES = """
SELECT sum(pg_relation_size(relid)) AS rows, sum(pg_indexes_size(relid)) AS index
FROM pg_partition_tree($1::regclass) WHERE isleaf
"""
SAMPLE = "SELECT product_id FROM factory.products TABLESAMPLE SYSTEM ($2) ORDER BY random() LIMIT $1"


@dataclass(frozen=True)
class World:
    """One of the two, and where its scans go."""

    name: str
    on: Ground
    port: int
    pid: int
    warm: str
    first: Sequence[str]

    @property
    def pids(self) -> dict[str, int]:
        return {"scan": self.pid, "Valkey": self.on.valkey_pid, "PostgreSQL": self.on.postmaster}


@dataclass(frozen=True, slots=True)
class Cost:
    """Microseconds of CPU a scan by process, and milliseconds at P50."""

    cpu: dict[str, float]
    p50: float

    def told(self, name: str) -> float:
        """One of them, or the CPU of all processes together."""
        return self.p50 if name == "P50" else sum(self.cpu.values()) if name == "together" else self.cpu[name]


def field(value: bytes) -> bytes:
    return struct.pack(">i", len(value)) + value


def products_copy(ids: Sequence[bytes], batch_id: bytes) -> bytes:
    """Products with the batch's attributes, in COPY BINARY by `COLUMNS`."""
    head, length = struct.pack(">hi", len(COLUMNS), 16), struct.pack(">i", 4)
    batch, rest = field(batch_id) + length, field(struct.pack(">h", 1)) + field(struct.pack(">h", 0)) + NULL
    rows = [b"".join((head, each, batch, place.to_bytes(4), rest)) for place, each in enumerate(ids, 1)]
    return HEADER + b"".join(rows) + TRAILER


def events_copy(products: Sequence[bytes], batch_id: bytes, factory_id: bytes, first: int) -> bytes:
    """One event of each product, in COPY BINARY by `journal.COLUMNS`."""
    now = field(struct.pack(">q", int((time.time() - PG_EPOCH) * MILLION)))
    constant = {
        "at": now, "batch_id": field(batch_id), "factory_id": field(factory_id),
        "verdict": field(struct.pack(">h", 1)), "risk": field(struct.pack(">h", 0)), "factors": field(b"[]"),
        "risk_version": field(struct.pack(">i", 1)), "weights_version": field(b"bench"),
        "prefix_hmac": field(bytes(16)), "device_hmac": field(bytes(16)), "blind": field(bytes(16)),
        "personal": field(bytes(32)), "country": field(b"BR"), "source": field(struct.pack(">h", 1)),
        "facts": field(b"{}"), "leading_factor": NULL, "scan_count": field(struct.pack(">q", 1)),
    }  # fmt: skip
    head, length = struct.pack(">h", len(journal.COLUMNS)), struct.pack(">i", 16)
    middle = b"".join([constant[name] for name in journal.COLUMNS[2:-1]]) + struct.pack(">i", 8)
    rows = [
        b"".join((head, length, product_id, length, raw_uuid7(), middle, place.to_bytes(8)))
        for place, product_id in enumerate(products, first)
    ]
    return HEADER + b"".join(rows) + TRAILER


async def counted(on: Ground, port: int) -> bytes:
    """What Valkey keeps of a product after one scan."""
    batch = await on.database.batch(1, state="COMPLETED")
    await load(Plan("grpc", [port], on.written("one", batch.tokens), LONGEST_SECONDS, once=True))
    async with Redis.from_url(on.valkey.url) as client:
        value = await client.get(product_key(batch.product_ids[0].bytes, 0))
    assert isinstance(value, bytes)
    return value


async def fill_counters(on: Ground, products: Sequence[bytes], value: bytes) -> None:
    """As if each had been scanned once."""
    async with Redis.from_url(on.valkey.url) as client:
        for start in range(0, len(products), PIPELINE):
            await client.mset({product_key(each, 0): value for each in products[start : start + PIPELINE]})


async def fill(on: Ground, name: str, value: bytes, *, products: int, events: int, counters: int) -> None:
    """Products as CreateBatch makes them, the first of them with counters; events in turns over them."""
    begun = time.perf_counter()
    async with connected(on.database.owner_dsn) as owner, Redis.from_url(on.valkey.url) as client:
        empty = (await client.info("memory"))["used_memory"]
        written = 0
        for start in range(0, products, CHUNK):
            batch = await on.database.batch(1, state="COMPLETED")
            minted = [raw_uuid7() for _ in range(CHUNK)]
            source: Any = memoryview(products_copy(minted, batch.batch_id.bytes))
            await owner.copy_to_table(
                "products", schema_name="factory", source=source, columns=COLUMNS, format="binary"
            )
            await fill_counters(on, minted[: max(0, counters - start)], value)
            while written < events * (start + CHUNK) // products:
                ids = list(islice(minted, min(CHUNK, events - written)))
                rows: Any = memoryview(events_copy(ids, batch.batch_id.bytes, on.database.factory_id.bytes, written))
                await owner.copy_to_table(
                    "events", schema_name="scan", source=rows, columns=journal.COLUMNS, format="binary"
                )
                written += len(ids)
        for table in ("factory.products", "scan.events"):  # or PostgreSQL does it by itself meanwhile
            await owner.execute(f"VACUUM (ANALYZE) {table}")
        await owner.execute("CHECKPOINT")
        kept = ((await client.info("memory"))["used_memory"] - empty) / max(1, min(counters, products))
        sizes = [await owner.fetchrow(SIZES, table) for table in ("factory.products", "scan.events")]
    told = [
        f"{int(each['rows']) / count:.0f} + {int(each['index']) / count:.0f}"
        for each, count in zip(sizes, (products, max(1, written)), strict=True)
        if each
    ]
    print(
        f"{name}: {products / MILLION:g}M products of {told[0]} bytes (row + index), {written / MILLION:g}M events of"
        f" {told[1]}, counters of {kept:.0f} bytes; {time.perf_counter() - begun:.0f} s",
        flush=True,
    )


async def world(stack: AsyncExitStack, name: str, sizes: dict[str, int], rounds: int) -> World:
    on = await stack.enter_async_context(ground())
    [service] = await stack.enter_async_context(scanning(on))
    await fill(on, name, await counted(on, service.port), **sizes)
    wanted = WARM + FIRST * rounds
    percent = min(100.0, 100 * 3 * wanted / sizes["products"])
    async with connected(on.database.owner_dsn) as owner:
        found: list[UUID] = [row["product_id"] for row in await owner.fetch(SAMPLE, wanted, percent)]
    if len(found) < wanted:
        raise SystemExit(f"{len(found)} of {wanted} products were found: have more of them, or fewer rounds")
    texts = [token_of(each) for each in found]
    known = on.written("warm", texts[:WARM])
    parts = [texts[start : start + FIRST] for start in range(WARM, wanted, FIRST)]
    first = [on.written(f"first-{number}", part) for number, part in enumerate(parts)]
    await warm([service.port], known)
    return World(name, on, service.port, service.child.pid or 0, known, first)


async def cost(on: World, planned: Plan) -> Cost:
    spending = Spending(on.pids)
    figures: Figures = await load(planned)
    return Cost({name: each / figures.calls * 1e6 for name, each in spending.seconds().items()}, figures.p50)


def plan(on: World, kind: str, number: int, seconds: float) -> Plan:
    """Of a round: so many seconds of warm scans, or each of the round's first scans."""
    if kind == "warm":
        return Plan("grpc", [on.port], on.warm, seconds, CONNECTIONS)
    return Plan("grpc", [on.port], on.first[number], LONGEST_SECONDS, CONNECTIONS, once=True)


def told(kind: str, pairs: Sequence[tuple[Cost, Cost]]) -> None:
    """Medians of the few, of the many, and of their ratios."""
    for name in ("scan", "Valkey", "PostgreSQL", "together", "P50"):
        values = [[each.told(name) for each in pair] for pair in pairs]
        small, large = (statistics.median(pair[which] for pair in values) for which in (0, 1))
        ratio = statistics.median(many / few if few else float("nan") for few, many in values)
        unit = "ms" if name == "P50" else "us of CPU a scan"
        print(f"{kind:5} {name:10} few {small:8.2f}   many {large:8.2f} {unit:16}   many / few {ratio:.2f}")


def require_disk(sizes: dict[str, int]) -> None:
    needed = 2 * sum(NEEDED_BYTES[name] * count for name, count in sizes.items())
    free = shutil.disk_usage(tempfile.gettempdir()).free
    if needed > free:
        raise SystemExit(f"{needed / 1e9:.0f} GB of disk are needed, {free / 1e9:.0f} are free: say smaller sizes")


async def main(large: dict[str, int], small: dict[str, int], rounds: int, seconds: float) -> None:
    require_disk(large)
    pairs: dict[str, list[tuple[Cost, Cost]]] = {"warm": [], "first": []}
    async with AsyncExitStack() as stack:
        few = await world(stack, "few", small, rounds)
        many = await world(stack, "many", large, rounds)
        for number in range(rounds):
            order = (few, many) if number % 2 else (many, few)
            for kind, costs in pairs.items():
                found = {each.name: await cost(each, plan(each, kind, number, seconds)) for each in order}
                costs.append((found["few"], found["many"]))
    for kind, costs in pairs.items():
        told(kind, costs)


def millions(text: str) -> int:
    return int(float(text) * MILLION) // CHUNK * CHUNK


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (("products", "20"), ("events", "10"), ("counters", "2"), ("small", "0.1")):
        parser.add_argument(f"--{name}", type=millions, default=default, help="millions")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4)
    arguments = parser.parse_args()
    many_of = {name: getattr(arguments, name) for name in ("products", "events", "counters")}
    few_of = dict.fromkeys(many_of, arguments.small)
    asyncio.run(main(many_of, few_of, arguments.rounds, arguments.seconds))
