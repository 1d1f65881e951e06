"""What counting costs Valkey: CPU a scan, and memory a product, at one to three sessions of each.

`python -m bench.counters [--products N]` starts a Valkey of its own. CPU is what the system charged its process with,
command parsing, network and append-only file included, and beside it what the function alone took. Memory is all that
the scans left behind but the stream, which the journal trims: with the devices, prefixes and factories of the last
session, which are forgotten within 61 minutes, and without them.
"""

import argparse
import asyncio
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import uvloop

from bench.processes import cpu_seconds
from mesh.clock import SystemClock, new_id
from mesh.config import ValkeySettings
from mesh.limits import LocalLimiter, Rate
from mesh.pipeline import Pipeline
from mesh.presence import Presence
from scan.caller import Caller
from scan.counters import Budgets, Counters
from scan.sessions import Place
from scan.shard import Sighting
from scan.stream import stream_key
from tests.servers import start_valkey

ENDLESS = Rate(1_000_000, 1_000_000)
PAYLOAD = b"x" * 320
"""What a process says of a scan, about as long as it is."""
A_BATCH, A_FACTORY = 1_000, 20
AT_ONCE = (1, 8, 32)
SESSIONS = 3


class Measure:
    """Figures of one server."""

    def __init__(self, pid: int, pipeline: Pipeline) -> None:
        self._pid = pid
        self._pipeline = pipeline

    async def used(self) -> int:
        """Bytes, without the stream and what waits to be written to the append-only file."""
        await self._pipeline.call("DEL", stream_key(0))
        while await self._info("memory", "lazyfree_pending_objects:") != "0":  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.01)
        used, waiting = [int(await self._info("memory", name)) for name in ("used_memory:", "mem_aof_buffer:")]
        return used - waiting

    async def forget_callers(self) -> None:
        """As Valkey does by itself when the hour is over."""
        for kind in ("d", "s", "f"):
            cursor = b"0"
            while True:
                cursor, keys = await self._pipeline.call("SCAN", cursor, "MATCH", f"scan:{kind}:*", "COUNT", 1_000)
                if keys:
                    await self._pipeline.call("DEL", *keys)
                if cursor == b"0":
                    break

    async def function_seconds(self) -> float:
        """Time in the function so far."""
        found = await self._info("commandstats", "cmdstat_fcall:")
        return int(found.split("usec=")[1].split(",")[0]) / 1e6 if found else 0.0

    def cpu_seconds(self) -> float:
        """CPU of the process so far."""
        return cpu_seconds(self._pid)

    async def _info(self, section: str, start: str) -> str:
        lines = (await self._pipeline.call("INFO", section)).decode().splitlines()
        return next((line.removeprefix(start) for line in lines if line.startswith(start)), "")


def sightings(products: list[bytes], batches: list[bytes]) -> Iterator[Sighting]:
    """One scan of each product by a device of its own; three devices share an address prefix."""
    factories = [os.urandom(16) for _ in range(-(-len(batches) // A_FACTORY))]
    device, source = os.urandom(8), os.urandom(8)
    for number, product_id in enumerate(products):
        batch = number // A_BATCH
        caller = Caller(
            number.to_bytes(4) + device + bytes(4),
            (number // 3).to_bytes(4) + source + bytes(4),
            Place("BR", 1_234),
        )
        yield Sighting(new_id().bytes, product_id, batches[batch], factories[batch // A_FACTORY], "BR", caller, PAYLOAD)


async def scan_all(counters: Counters, given: Iterator[Sighting], at_once: int) -> None:
    """By so many callers."""

    async def caller() -> None:
        for sighting in given:
            await counters.scan(sighting)

    await asyncio.gather(*[caller() for _ in range(at_once)])


async def main(count: int) -> None:
    """Prints a line for each number of callers and of sessions."""
    server = await start_valkey(Path(tempfile.mkdtemp(prefix="voketag-counters-")))
    pipeline, clock = Pipeline(ValkeySettings(valkey_url=server.url), Presence("Valkey"), timeout=10.0), SystemClock()
    await pipeline.start()
    await pipeline.call("CONFIG", "SET", "auto-aof-rewrite-percentage", 0)  # a rewrite is no part of a scan
    budgets = Budgets(ENDLESS, ENDLESS, ENDLESS, ENDLESS)
    counters = Counters(pipeline, LocalLimiter(clock), budgets, clock, Presence("functions"))
    await counters.load()
    measure = Measure(server.child.pid or 0, pipeline)
    print("callers  session  CPU us a scan  function us a scan  B a product  lasting")
    for at_once in AT_ONCE:
        products = [os.urandom(16) for _ in range(count)]
        batches = [os.urandom(16) for _ in range(-(-count // A_BATCH))]
        before = await measure.used()
        for session in range(1, SESSIONS + 1):
            cpu, function = measure.cpu_seconds(), await measure.function_seconds()
            await scan_all(counters, sightings(products, batches), at_once)
            cpu, function = measure.cpu_seconds() - cpu, await measure.function_seconds() - function
            lately = (await measure.used() - before) / count
            await measure.forget_callers()
            lasting = (await measure.used() - before) / count
            cpu, function = cpu / count * 1e6, function / count * 1e6
            print(f"{at_once:7} {session:8} {cpu:14.1f} {function:19.1f} {lately:12.0f} {lasting:8.0f}")
    await pipeline.close()
    await server.stop()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--products", type=int, default=20_000)
    uvloop.run(main(parser.parse_args().products))
