"""Batches of 1,000, minute after minute: ordered, committed, answered with their tokens, built, handed in, completed.

Run from the repository: python -m bench.sustained [SECONDS]. One server and one worker, four orders in flight, half of
them CreateBatch and half ImportProducts, from several factories; the anchor service is one that finds every root final
at once, in this process.
"""

import asyncio
import itertools
import sys
import tempfile
import time
from contextlib import AsyncExitStack
from pathlib import Path

import uvloop

from bench.factory import ground, import_products, quantile, server
from bench.processes import Spending
from tests.fakes.final_anchor import FinalAnchor
from tests.integration.factory.world import Customer, Ground, eventually, working

AT_ONCE = 4
FACTORIES = 20
BATCH = 1_000


async def order(customer: Customer, number: int) -> float:
    """Milliseconds of one batch until it is committed and its tokens are here."""
    started = time.perf_counter()
    if number % 2:
        assert await import_products(customer.plain, (("x-api-key", customer.key),), BATCH) == BATCH
    else:
        answer = await customer.order(BATCH, template={"gtin": "4006381333931"}, return_products=True)
        assert len(answer.products) == BATCH
    return (time.perf_counter() - started) * 1e3


async def orders(customers: list[Customer], seconds: float) -> list[float]:
    """Milliseconds of every batch that was ordered in so many seconds."""
    taken: list[float] = []
    numbers, end = itertools.count(), time.perf_counter() + seconds

    async def one_after_the_other() -> None:
        while time.perf_counter() < end:
            number = next(numbers)
            taken.append(await order(customers[number // 2 % len(customers)], number))

    async with asyncio.TaskGroup() as group:
        for _ in range(AT_ONCE):
            group.create_task(one_after_the_other())
    return taken


async def completed(on: Ground) -> int:
    async with on.owner() as owner:
        return int(await owner.fetchval("SELECT count(*) FROM batches WHERE state = 'COMPLETED'"))


async def main(seconds: float) -> None:
    with tempfile.TemporaryDirectory(prefix="voketag-bench-") as name:
        Path(name).chmod(0o755)
        anchor = FinalAnchor()  # type: ignore[abstract]
        await anchor.start()
        async with (
            ground(Path(name)) as (on, postmaster),
            working(on, anchor) as worker,
            server(on) as (door, child),
            AsyncExitStack() as stack,
        ):
            keys = [await door.new_factory() for _ in range(FACTORIES)]
            customers = [await stack.enter_async_context(door.returning(*key)) for key in keys]
            assert worker.pid is not None
            assert child.pid is not None
            spending = Spending({"server": child.pid, "worker": worker.pid, "PostgreSQL": postmaster})
            taken = await orders(customers, seconds)
            at_the_end = await completed(on)
            started = time.perf_counter()

            async def all_completed() -> bool:
                return await completed(on) == len(taken)

            await eventually(all_completed, within=120)
            rest = time.perf_counter() - started
            by_process = ", ".join(f"{name} {each / len(taken) * 1e3:.1f}" for name, each in spending.seconds().items())
        await anchor.stop()
    print(f"ordered: {len(taken) / seconds * 60:,.0f} batches of {BATCH:,} a minute, for {seconds:.0f} s")
    print(f"each: P50 {quantile(taken, 0.5):.1f}, P95 {quantile(taken, 0.95):.1f} ms, {AT_ONCE} at once")
    print(f"CPU a batch: {by_process} ms")
    print(f"completed in that time: {at_the_end / seconds * 60:,.0f} a minute; the last one {rest:.1f} s after the end")


if __name__ == "__main__":
    uvloop.run(main(float(sys.argv[1]) if len(sys.argv) > 1 else 60))
