"""Windows of anchoring, and a day of 1,000,000 batches in little time: bench/anchor.py runs it.

The day's 1,440 windows follow each other without the minutes between them. Batches' and submissions' ids are of the
time when they would be made; vacuum runs after the windows after which PostgreSQL's look of that minute would start it.
"""

import time
from dataclasses import dataclass
from itertools import islice
from random import Random
from typing import Any
from uuid import UUID

import asyncpg

from anchor.proofs import proves
from bench.figures import p95, told
from tests.databases import Database
from tests.integration.anchor.day import COLUMNS, Autovacuum, minutes
from tests.integration.anchor.world import World
from trust.canonical import SubjectKind

TABLES = ("submissions", "trees", "tiles", "stamps", "transactions", "attempts")
DAY = 1_000_000
WINDOWS_A_DAY = 1_440
LARGE = 100_000
PRODUCT_PROOF = 32 * 20
"""Bytes of the inclusion proof of a product in a batch of 1,000,000."""


async def fill(world: World, count: int) -> None:
    """Pending roots, as SubmitRoot leaves them."""
    rows = next(minutes(count, Random(count)))
    await world.pool.copy_records_to_table("submissions", records=rows, columns=list(COLUMNS))


async def window(world: World, count: int) -> None:
    """One window: tree, rows and transaction, and a proof of it."""
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
    told(
        f"window of {count:,}: tree, rows, signed and sent",
        f"{took:.2f} s",
        "3 s for 100,000" if count == LARGE else "",
    )
    told("  proof out of it P95", f"{proofs.made:.2f} ms")
    told("  gas a root", f"{gas / count:.2f}")


async def newest(world: World, count: int) -> list[UUID]:
    query = "SELECT subject_id FROM submissions ORDER BY tree_id DESC, hashint4(leaf_index) LIMIT $1"
    return [row["subject_id"] for row in await world.pool.fetch(query, count)]


async def anywhere(world: World, count: int) -> list[UUID]:
    query = "SELECT subject_id FROM submissions TABLESAMPLE SYSTEM (2) ORDER BY random() LIMIT $1"
    return [row["subject_id"] for row in await world.pool.fetch(query, count)]


@dataclass(frozen=True)
class Proved:
    """Milliseconds in which 95 % of proofs were made and checked, and the longest one's bytes."""

    made: float
    checked: float
    size: int


async def prove(world: World, subjects: list[UUID]) -> Proved:
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
    return Proved(p95(made), p95(checked), longest)


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
    owner = await asyncpg.connect(database.dsn)
    vacuum = Autovacuum(owner, "anchor.submissions")
    for rows in islice(minutes(roots, Random(1)), windows):
        await world.pool.copy_records_to_table("submissions", records=rows, columns=list(COLUMNS))
        begun = time.perf_counter()
        await world.submitter.round(fence, delivery)
        spent.append(time.perf_counter() - begun)
        await vacuum.minute(roots)
    await owner.close()
    await world.reach(*["final"] * windows)
    batches = await world.pool.fetchval("SELECT count(*) FROM submissions")
    stuck = await world.pool.fetchval("SELECT count(*) FROM submissions WHERE tree_id IS NULL")
    assert batches == windows * roots
    growth = (await stored(world.pool) - before) / batches
    await rebuilt(database)
    dense = (await stored(world.pool) - before) / batches
    gas = await gas_of(world)
    proofs = await prove(world, await anywhere(world, 500))
    told(f"a day of {batches:,} batches in {windows:,} windows: work", f"{sum(spent):.0f} s", "86,400 s")
    told("  a window P95", f"{p95(spent) * 1000:.0f} ms")
    told("  stuck", f"{stuck}", "0")
    told("  storage a batch, as written", f"{growth:.0f} B", "300 B")
    told("  storage a batch, rebuilt", f"{dense:.0f} B")
    told("  proof of any batch P95", f"{proofs.made:.2f} ms", "5 ms")
    told("  proof of any batch", f"{proofs.size} B")
    told("  with that of a product in 1,000,000", f"{proofs.size + PRODUCT_PROOF} B", "2,048 B")
    told("  checked P95", f"{proofs.checked:.3f} ms", "1 ms")
    told("  gas a batch", f"{gas / roots:.1f}")
    told("  beside a transaction a batch", f"1/{roots}", "1/500")


async def stored(pool: Any) -> int:
    """Bytes of everything a root leaves behind, but its audit and idempotency rows."""
    await pool.execute("SELECT pg_stat_clear_snapshot()")
    return sum([await pool.fetchval("SELECT pg_total_relation_size($1::text::regclass)", name) for name in TABLES])
