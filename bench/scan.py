"""Verify over gRPC against a bare grpc.aio echo, one process each, in interleaved runs: medians of ratios.

Run: python -m bench.scan [ROUNDS]. The callers are processes of their own; the CPU of a call is
that of the server's process alone, by /proc/PID/stat.
"""

import asyncio
import os
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import uvloop

from mesh.local.process import Child

ROOT = Path(__file__).parents[1]
SECONDS = float(os.environ.get("BENCH_SECONDS", "4"))
CLIENTS, CALLERS = 2, 16
PRODUCTS = 10_000
"""Each is scanned by a device of its own, a few times in all: the ordinary scan."""
METHODS = {"echo": "/bench.Echo/Echo", "scan": "/voketag.scan.v1.ScanService/Verify"}
BUDGETS = ("SCAN", "DEVICE", "CODE", "FACTORY")
GENEROUS = {f"VOKETAG_{budget}_{part}": "1000000" for budget in BUDGETS for part in ("PER_SECOND", "BURST")}


@dataclass(frozen=True, slots=True)
class Run:
    """What one run came to: calls a second, microseconds of the server's CPU a call, milliseconds at P50 and P99."""

    rps: float
    cpu: float
    p50: float
    p99: float


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def echo(port: int) -> None:
    async def answer(request: bytes, _: object) -> bytes:
        return request

    server = grpc.aio.server()
    handlers: dict[str, Any] = {"Echo": grpc.unary_unary_rpc_method_handler(answer)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("bench.Echo", handlers),))
    server.add_registered_method_handlers("bench.Echo", handlers)
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    await server.wait_for_termination()


async def client(target: str, method: str, tokens: Path) -> None:
    """Calls for SECONDS from CALLERS at once; prints each call's microseconds."""
    from voketag.scan.v1 import scan_pb2

    texts = tokens.read_text().split()
    requests = [scan_pb2.VerifyRequest(token=text).SerializeToString() for text in texts]
    callers = [(("x-client-address", f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}"),) for n in range(len(texts))]
    took: list[float] = []
    async with grpc.aio.insecure_channel(target, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
        call: Any = channel.unary_unary(method)
        await call(requests[0], metadata=callers[0])
        end = time.perf_counter() + SECONDS

        async def caller(number: int) -> None:
            while (begun := time.perf_counter()) < end:
                place = (len(took) * 7 + number * 613) % len(requests)
                await call(requests[place], metadata=callers[place])
                took.append(time.perf_counter() - begun)

        await asyncio.gather(*[caller(number) for number in range(CALLERS)])
    sys.stdout.write(" ".join(f"{seconds * 1e6:.0f}" for seconds in took))


async def measure(target: str, method: str, tokens: Path, pid: int) -> Run:
    before = cpu_seconds(pid)
    command = [sys.executable, __file__, "client", target, method, str(tokens)]
    pipes = [await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE) for _ in range(CLIENTS)]
    outputs = [(await pipe.communicate())[0] for pipe in pipes]
    took = sorted(int(word) for output in outputs for word in output.split())
    cpu = (cpu_seconds(pid) - before) / len(took) * 1e6
    return Run(len(took) / SECONDS, cpu, took[len(took) // 2] / 1e3, took[len(took) * 99 // 100] / 1e3)


async def main(rounds: int) -> None:
    from tests.fakes.anchor import FakeAnchor
    from tests.integration.scan.world import Database, Service
    from tests.servers import start_postgres, start_valkey

    folder = Path(tempfile.mkdtemp(prefix="voketag-bench-"))
    folder.chmod(0o755)
    postgres, valkey, anchor = await start_postgres(folder), await start_valkey(folder), FakeAnchor()  # type: ignore[abstract]
    await anchor.start()
    database = Database(postgres.dsn())
    await database.create()
    batch = await database.batch(PRODUCTS, state="COMPLETED")
    tokens = folder / "tokens"
    tokens.write_text("\n".join(batch.tokens))
    service = Service(folder, database, valkey.url, anchor.target, VOKETAG_LOG_LEVEL="error", **GENEROUS)
    await service.start()
    echo_port = service.metrics_port + 1
    bare = Child("echo", [sys.executable, __file__, "echo", str(echo_port)], log=folder / "echo.log", env=os.environ)
    await bare.start()
    pids = {"echo": bare.pid or 0, "scan": service.child.pid or 0}
    targets = {"echo": f"127.0.0.1:{echo_port}", "scan": service.target}
    runs: dict[str, list[Run]] = {"echo": [], "scan": []}
    for _ in range(rounds + 1):
        for name, results in runs.items():
            results.append(await measure(targets[name], METHODS[name], tokens, pids[name]))
            run = results[-1]
            print(f"{name}: {run.rps:7.0f} rps {run.cpu:6.0f} us CPU/call  P50 {run.p50:5.2f}  P99 {run.p99:6.2f} ms")
    pairs = list(zip(runs["echo"], runs["scan"], strict=True))[1:]  # the first warms up
    print(f"scan / echo, throughput: {statistics.median(s.rps / e.rps for e, s in pairs):.2f}")
    print(f"scan / echo, CPU a call: {statistics.median(s.cpu / e.cpu for e, s in pairs):.2f}")
    for stoppable in (service, anchor, valkey, postgres, bare):
        await stoppable.stop()


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["echo", port]:
            uvloop.run(echo(int(port)))
        case ["client", target, method, tokens]:
            uvloop.run(client(target, method, Path(tokens)))
        case words:
            asyncio.run(main(int(words[0]) if words else 5))
