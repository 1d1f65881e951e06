"""Scan processes at 32 connections, in turns with the classical service when a folder with its source is given.

Run: python -m bench.scan_pair [--peer DIR] [--processes 2] [--rounds 4] [--seconds 4]. One caller process for either,
with one call at a time on each connection: gRPC to ours, HTTP/1.1 to the classical one. Both have the same PostgreSQL,
durable, and a Valkey of their own. Ours has its journal and ledger written meanwhile, and a turn ends when all of it is
in. Last, ours with busy callers: 64 devices scan everything, which the risk engine has to look into.
"""

import argparse
import asyncio
import statistics
from contextlib import AsyncExitStack
from pathlib import Path

from bench.go_peer import HTTP, NoPeerError, peer
from bench.load import Figures, Plan, load, warm
from bench.processes import Spending
from bench.scanners import bytes_of_products, ground, journaled, journaling, scanning

CONNECTIONS, PRODUCTS, BUSY_DEVICES = 32, 20_000, 64
RECORDED = "   5,130 rps   P50   5.86   P90   8.73                  P99  13.29 ms   (classical, one such machine)"


async def measured(plan: Plan, pids: dict[str, int]) -> Figures:
    """Also says what the processes took of the CPU."""
    spending = Spending(pids)
    figures = await load(plan)
    parts = {name: seconds / figures.calls * 1e6 for name, seconds in spending.seconds().items()}
    words = ", ".join(f"{name} {part:.0f}" for name, part in {**parts, "caller": figures.cpu}.items())
    print(f"  {figures}   us of CPU a call: {words}", flush=True)
    return figures


def medians(name: str, runs: list[Figures]) -> None:
    parts = [statistics.median(getattr(run, part) for run in runs) for part in ("rps", "p50", "p90", "p95", "p99")]
    cuts = "   ".join(
        f"{part} {value:6.2f}" for part, value in zip(("P50", "P90", "P95", "P99"), parts[1:], strict=True)
    )
    print(f"{name:16}{parts[0]:8,.0f} rps   {cuts} ms")


async def main(source: Path | None, processes: int, rounds: int, seconds: float) -> None:
    async with AsyncExitStack() as stack:
        on = await stack.enter_async_context(ground(durable=True))
        batch = await on.database.batch(PRODUCTS, state="COMPLETED")
        services = await stack.enter_async_context(scanning(on, processes))
        pids = {f"scan {number}": service.child.pid or 0 for number, service in enumerate(services, 1)}
        pids["journal"] = await stack.enter_async_context(journaling(on))
        pids |= {"Valkey": on.valkey_pid, "PostgreSQL": on.postmaster}
        ports, tokens = [service.port for service in services], on.written("tokens", batch.tokens)
        await warm(ports, tokens)
        turns = {"ours": (Plan("grpc", ports, tokens, seconds, CONNECTIONS), pids)}
        try:
            if source is not None:
                its_tokens, its_pids = await stack.enter_async_context(peer(source, on))
                its_pids |= {"PostgreSQL": on.postmaster}
                turns["classical"] = Plan("json", [HTTP], its_tokens, seconds, CONNECTIONS), its_pids
        except NoPeerError as error:
            print(f"without the classical service: {error}")
        runs: dict[str, list[Figures]] = {name: [] for name in turns}
        for _ in range(rounds + 1):
            for name, (plan, whose) in turns.items():
                print(name)
                runs[name].append(await measured(plan, whose))
                await journaled(on)
        print("ours, busy callers")
        busy = await measured(Plan("grpc", ports, tokens, seconds, CONNECTIONS, devices=BUSY_DEVICES), pids)
        print(f"Valkey keeps {await bytes_of_products(on.valkey.url, batch):.0f} bytes of a product (one device each)")
    for name, figures in runs.items():
        medians(name, figures[1:])  # the first warms up
    medians("ours, busy", [busy])
    print(f"recorded        {RECORDED}")
    if len(runs) == 2:
        pairs = list(zip(runs["ours"], runs["classical"], strict=True))[1:]
        for what, part in (("throughput", "rps"), ("P50", "p50"), ("P95", "p95"), ("P99", "p99")):
            ratio = statistics.median(getattr(ours, part) / getattr(theirs, part) for ours, theirs in pairs)
            print(f"ours / classical, {what}: {ratio:.2f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peer", type=Path, help="the folder of the classical service")
    parser.add_argument("--processes", type=int, default=2, choices=(1, 2))
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=4)
    arguments = parser.parse_args()
    asyncio.run(main(arguments.peer, arguments.processes, arguments.rounds, arguments.seconds))
