"""Exports of a table of scans, streamed and made by the worker: rows a second and memory, beside COPY TO in one run.

Run from the repository: python -m bench.exports [PRODUCTS SCANS] [--rows 1000000]. Server, worker and PostgreSQL are
processes of their own. What is exported are the newest so many scans of the data of bench/admin_data.py, which is made
unless BENCH_DATA names a folder that has it; the reference is COPY of them out of the same view.
"""

import argparse
import asyncio
import os
import statistics
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import grpc
import uvloop
from google.protobuf.timestamp_pb2 import Timestamp
from pydantic import SecretStr
from voketag.admin.v1 import export_pb2 as pb

from bench.admin_ground import place
from bench.processes import family_cpu
from mesh.local.process import Child
from tests.integration.admin.export_world import FORMATS, KINDS, Exporter, working
from tests.integration.admin.world import Ground, Person
from tests.servers import free_port

ROUNDS = 3
BOUNDS = {"csv": 100_000, "xlsx": 20_000}
"""Rows a second."""
COPY = """
SELECT * FROM scan.exported_scans WHERE at >= '{since}' AND event_id >= scan.first_id_of('{since}' AT TIME ZONE 'UTC')
"""


def memory(pid: int, field: str) -> float:
    """MB, by /proc/PID/status: VmRSS now, VmHWM at most since `forget_peak`."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) / 1024
    raise KeyError(field)


def forget_peak(pid: int) -> None:
    Path(f"/proc/{pid}/clear_refs").write_text("5")


@dataclass(frozen=True)
class Wanted:
    """So many scans, those since then."""

    count: int
    since: datetime

    def request(self, form: str) -> dict[str, Any]:
        """The fields of an export of them but for its kind."""
        since = Timestamp()
        since.FromDatetime(self.since)
        return {"format": FORMATS[form], "from_time": since}


@asynccontextmanager
async def server(on: Ground, person: Person) -> AsyncIterator[tuple[Exporter, int]]:
    """An admin server, and the person before it."""
    port = free_port()
    values = on.settings(listen_port=port).model_dump(exclude_unset=True)
    environment = {
        f"VOKETAG_{name.upper()}": str(value.get_secret_value() if isinstance(value, SecretStr) else value)
        for name, value in values.items()
    }
    child = Child("admin", [sys.executable, "-m", "admin"], log=on.folder / "admin.log", env=os.environ | environment)
    await child.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            await asyncio.wait_for(channel.channel_ready(), 30)
            assert child.pid
            yield Exporter(person, channel), child.pid
    finally:
        await child.kill()


async def copied(on: Ground, wanted: Wanted) -> float:
    """Seconds of a bare COPY."""

    async def nowhere(_: bytes) -> None:
        pass

    async with on.owner() as owner:
        started = time.perf_counter()
        await owner.copy_from_query(COPY.format(since=wanted.since), output=nowhere, format="csv")
        return time.perf_counter() - started


async def streamed(exporter: Exporter, form: str, wanted: Wanted) -> tuple[float, int]:
    """Seconds and bytes."""
    started, size = time.perf_counter(), 0
    request = pb.ExportRequest(kind=KINDS["scans"], **wanted.request(form))
    async for piece in exporter.stub.Export(request, metadata=exporter.person.metadata):
        size += len(piece.data)
    return time.perf_counter() - started, size


async def by_stream(on: Ground, person: Person, wanted: Wanted) -> None:
    count = wanted.count
    async with server(on, person) as (exporter, pid):
        print(f"server before: {memory(pid, 'VmRSS'):.0f} MB")
        for form in FORMATS:
            rates, ratios, spent = [], [], []
            forget_peak(pid)
            size = 0
            for _ in range(ROUNDS):
                reference, before = await copied(on, wanted), family_cpu(pid)
                seconds, size = await streamed(exporter, form, wanted)
                rates.append(count / seconds)
                ratios.append(seconds / reference)
                spent.append((family_cpu(pid) - before) / count * 1e6)
            bound = f" (at least {BOUNDS[form]:,})" if form in BOUNDS else ""
            print(
                f"{form}: {statistics.median(rates):,.0f} rows/s{bound}, {statistics.median(ratios):.1f} x COPY, "
                f"{statistics.median(spent):.1f} us CPU a row, {size / count:.0f} B a row, "
                f"at most {memory(pid, 'VmHWM'):.0f} MB",
                flush=True,
            )


async def by_worker(on: Ground, person: Person, wanted: Wanted) -> None:
    async with server(on, person) as (exporter, _), working(on) as worker:
        for form in FORMATS:
            assert worker.pid
            started = time.perf_counter()
            fields = wanted.request(form)
            order = await exporter.start("scans", form, from_time=fields["from_time"])
            made = await exporter.made(order.export_id, within=600)
            seconds = time.perf_counter() - started
            assert made.row_count == wanted.count
            print(
                f"worker, {form}: {wanted.count / seconds:,.0f} rows/s, "
                f"at most {memory(worker.pid, 'VmHWM'):.0f} MB so far",
                flush=True,
            )


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("products", type=int, nargs="?", default=400_000)
    parser.add_argument("scans", type=int, nargs="?", default=1_000_000)
    parser.add_argument("--rows", type=int, default=1_000_000)
    options = parser.parse_args()
    async with place(options.scans, options.products) as at:
        first = max(options.scans - options.rows, 0)
        async with at.ground.owner() as owner:
            since = await owner.fetchval("SELECT at FROM scan.events WHERE ledger_index = $1", first)
        wanted = Wanted(options.scans - first, since)
        async with at.ground.server() as door:
            person = await door.admin()
        await by_stream(at.ground, person, wanted)
        await by_worker(at.ground, person, wanted)


if __name__ == "__main__":
    uvloop.run(main())
