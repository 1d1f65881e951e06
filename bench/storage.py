"""What products and scans leave on disk and in Valkey: bytes of each, by table.

Run: python -m bench.storage [--products 100000] [--scans 3]. Each product is scanned so often by Verify, from a device
of its own, with journal and ledger written. A table counts with its indexes, partitions and large values, as written:
without VACUUM. WAL is what PostgreSQL writes besides, and an archive keeps, full-page images included.
"""

import argparse
import asyncio
from collections import Counter
from contextlib import AsyncExitStack

from bench.load import warm
from bench.scanners import Ground, bytes_of_products, ground, journaled, journaling, scanning
from tests.integration.scan.world import connected

SIZES = """
SELECT n.nspname || '.' || coalesce(parent.relname, c.relname) AS name,
       sum(pg_total_relation_size(c.oid))::bigint AS size
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_inherits i ON i.inhrelid = c.oid LEFT JOIN pg_class parent ON parent.oid = i.inhparent
WHERE c.relkind = 'r' AND n.nspname IN ('factory', 'scan') GROUP BY 1
"""
LEAST = 0.5
"""Bytes of one thing that a table must have grown by to be told."""


async def kept(on: Ground) -> Counter[str]:
    """Bytes by table, and of WAL since the server began."""
    async with connected(on.database.owner_dsn) as owner:
        await owner.execute("CHECKPOINT")
        sizes: Counter[str] = Counter({row["name"]: row["size"] for row in await owner.fetch(SIZES)})
        sizes["WAL"] = await owner.fetchval("SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::bigint")
    return sizes


def tell(what: str, count: int, before: Counter[str], after: Counter[str]) -> None:
    grown = {name: (after[name] - before[name]) / count for name in after}
    wal = grown.pop("WAL")
    print(f"{what}: {sum(grown.values()):.0f} bytes in PostgreSQL, {wal:.0f} of WAL")
    for name, size in sorted(grown.items(), key=lambda pair: -pair[1]):
        if size >= LEAST:
            print(f"  {name:28}{size:7.1f}")


async def main(products: int, scans: int) -> None:
    async with AsyncExitStack() as stack:
        on = await stack.enter_async_context(ground(durable=True))
        [service] = await stack.enter_async_context(scanning(on))
        await stack.enter_async_context(journaling(on))
        empty = await kept(on)
        batch = await on.database.batch(products, state="COMPLETED")
        ordered = await kept(on)
        tell("a product", products, empty, ordered)
        tokens = on.written("tokens", batch.tokens)
        for _ in range(scans):
            await warm([service.port], tokens)
            await journaled(on)
        tell("a scan", products * scans, ordered, await kept(on))
        print(f"Valkey: {await bytes_of_products(on.valkey.url, batch):.0f} bytes of a product after {scans} scans")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--products", type=int, default=100_000)
    parser.add_argument("--scans", type=int, default=3)
    arguments = parser.parse_args()
    asyncio.run(main(arguments.products, arguments.scans))
