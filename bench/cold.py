"""Products that no process remembers, scanned while others are scanned all the time: what the look-up costs.

Run: python -m bench.cold [--warm 1000] [--cold 100] [--seconds 10] [--rounds 3]. Both kinds come on a schedule,
each from a process of its own; a cold product is one that nobody has scanned since the service began. Their rows are in
PostgreSQL's own memory, and it logs the service's statements, which tells how many products shared a query.
Short: --seconds 2 --rounds 1.
"""

import argparse
import asyncio
import re
import statistics
from collections.abc import Sequence
from contextlib import AsyncExitStack

from bench.load import Figures, Load, Plan, warm
from bench.scanners import ground, scanning
from tests.integration.scan.world import connected

WARM_PRODUCTS = 2_000
LOGGED = "ALTER ROLE voketag_scan SET log_statement = 'all'"
UUIDS = re.compile(r"[0-9a-f]{8}-[0-9a-f-]{27}")


def sharing(log: str, products: set[str]) -> list[int]:
    """How many of the products each query asked for that asked for any."""
    asked = (set(UUIDS.findall(line)) & products for line in log.splitlines() if "arameters: $1 = '{" in line)
    return [len(found) for found in asked if found]


async def together(*plans: Plan) -> list[Figures]:
    loads = [Load(plan) for plan in plans]
    for each in loads:
        await each.start()
    return [await each.figures() for each in loads]


async def main(warm_rate: float, cold_rate: float, seconds: float, rounds: int) -> None:
    async with AsyncExitStack() as stack:
        on = await stack.enter_async_context(ground())
        async with connected(on.database.owner_dsn) as owner:
            await owner.execute(LOGGED)
        [service] = await stack.enter_async_context(scanning(on))
        warm_batch = await on.database.batch(WARM_PRODUCTS, state="COMPLETED")
        warm_tokens = on.written("warm", warm_batch.tokens)
        plan = Plan("grpc", [service.port], warm_tokens, seconds, rate=warm_rate)
        await warm([service.port], warm_tokens)
        shared: list[int] = []
        runs: list[Sequence[Figures]] = []
        for number in range(rounds):
            cold_batch = await on.database.batch(int(cold_rate * seconds), state="COMPLETED")
            tokens = on.written(f"cold-{number}", cold_batch.tokens)
            cold = Plan("grpc", [service.port], tokens, seconds, rate=cold_rate, once=True)
            figures = await together(plan, cold)
            runs.append(figures)
            shared += sharing(on.postgres.files.log.read_text(), set(map(str, cold_batch.product_ids)))
            for name, each in zip(("warm", "cold"), figures, strict=True):
                print(f"{name} {each}   the caller was late by {each.late:.2f} ms at P99", flush=True)
    print("target: P95 of cold products at most 8 ms")
    for name, part in (("P50", "p50"), ("P95", "p95")):
        of_warm, of_cold = (statistics.median(getattr(run[which], part) for run in runs) for which in (0, 1))
        print(f"{name}: cold {of_cold:.2f} ms, warm {of_warm:.2f} ms, cold / warm {of_cold / of_warm:.2f}")
    print(f"cold products a query: {statistics.mean(shared):.2f}, at most {max(shared)}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--warm", type=float, default=1_000, help="warm scans a second")
    parser.add_argument("--cold", type=float, default=100, help="cold scans a second")
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    asyncio.run(main(arguments.warm, arguments.cold, arguments.seconds, arguments.rounds))
