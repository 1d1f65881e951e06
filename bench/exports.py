"""Exports of a table of scans, streamed and made by the worker: rows a second and memory, beside COPY TO in one run.

Run from the repository: python -m bench.exports [ROWS]. Server, worker and PostgreSQL are processes of their own. The
rows, a million unless said, lie in one month beside nothing else; the reference is COPY of them out of the same view.
"""

import asyncio
import os
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import grpc
import uvloop
from pydantic import SecretStr
from voketag.admin.v1 import export_pb2 as pb

from bench.processes import family_cpu
from mesh.local.process import Child
from mesh.local.secrets import Secrets
from mesh.migrate import SERVICES, ensure_roles
from tests.databases import Database, bring_up
from tests.integration.admin.export_world import FORMATS, KINDS, Exporter, Factory, new_factory, scan, working
from tests.integration.admin.world import Ground, Person
from tests.servers import PASSWORD, PostgresAddress, free_port, start_postgres

ROUNDS = 3
AT_ONCE = 100_000
COPY = "SELECT * FROM scan.exported_scans"


def memory(pid: int, field: str) -> float:
    """MB, by /proc/PID/status: VmRSS now, VmHWM at most since `forget_peak`."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) / 1024
    raise KeyError(field)


def forget_peak(pid: int) -> None:
    Path(f"/proc/{pid}/clear_refs").write_text("5")


@asynccontextmanager
async def ground(folder: Path) -> AsyncIterator[Ground]:
    postgres = await start_postgres(folder, durable=True)
    secrets = Secrets(folder / "secrets", os.urandom)
    secrets.make()
    on = Ground(
        Database("postgres", PostgresAddress("127.0.0.1", postgres.port, "voketag", PASSWORD, postgres.dsn())),
        secrets,
        folder,
    )
    try:
        owner = await asyncpg.connect(on.database.dsn)
        await ensure_roles(owner, dict.fromkeys(SERVICES, PASSWORD))
        for service in ("factory", "scan", "anchor", "admin"):
            await bring_up(owner, service)
        await owner.close()
        yield on
    finally:
        await postgres.stop()


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


async def copied(on: Ground) -> float:
    """Seconds of a bare COPY."""

    async def nowhere(_: bytes) -> None:
        pass

    async with on.owner() as owner:
        started = time.perf_counter()
        await owner.copy_from_query(COPY, output=nowhere, format="csv")
        return time.perf_counter() - started


async def streamed(exporter: Exporter, form: str, factory: Factory) -> tuple[float, int]:
    """Seconds and bytes."""
    started, size = time.perf_counter(), 0
    request = pb.ExportRequest(kind=KINDS["scans"], format=FORMATS[form], factory_id=str(factory.factory_id))
    async for piece in exporter.stub.Export(request, metadata=exporter.person.metadata):
        size += len(piece.data)
    return time.perf_counter() - started, size


async def by_stream(on: Ground, person: Person, factory: Factory, count: int) -> None:
    async with server(on, person) as (exporter, pid):
        print(f"server before: {memory(pid, 'VmRSS'):.0f} MB")
        for form in FORMATS:
            rates, ratios, spent = [], [], []
            forget_peak(pid)
            size = 0
            for _ in range(ROUNDS):
                reference, before = await copied(on), family_cpu(pid)
                seconds, size = await streamed(exporter, form, factory)
                rates.append(count / seconds)
                ratios.append(seconds / reference)
                spent.append((family_cpu(pid) - before) / count * 1e6)
            print(
                f"{form}: {statistics.median(rates):,.0f} rows/s, {statistics.median(ratios):.1f} x COPY, "
                f"{statistics.median(spent):.1f} us CPU a row, {size / count:.0f} B a row, "
                f"at most {memory(pid, 'VmHWM'):.0f} MB"
            )


async def by_worker(on: Ground, person: Person, factory: Factory, count: int) -> None:
    async with server(on, person) as (exporter, _), working(on) as worker:
        for form in FORMATS:
            assert worker.pid
            started = time.perf_counter()
            order = await exporter.start("scans", form, factory_id=str(factory.factory_id))
            made = await exporter.made(order.export_id, within=600)
            seconds = time.perf_counter() - started
            assert made.row_count == count
            print(f"worker, {form}: {count / seconds:,.0f} rows/s, at most {memory(worker.pid, 'VmHWM'):.0f} MB so far")


async def main(count: int) -> None:
    with tempfile.TemporaryDirectory(prefix="voketag-bench-") as name:
        Path(name).chmod(0o755)
        async with ground(Path(name)) as on:
            async with on.server() as door:
                person = await door.admin()
            factory = await new_factory(on)
            for _ in range(count // AT_ONCE):
                await scan(on, factory, AT_ONCE)
            async with on.owner() as owner:
                await owner.execute("VACUUM ANALYZE scan.events")
            await by_stream(on, person, factory, count)
            await by_worker(on, person, factory, count)


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000))
