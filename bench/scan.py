"""Verify over gRPC against a bare grpc.aio echo, one process each, in interleaved runs: medians of ratios.

Run: python -m bench.scan [ROUNDS]. The callers are processes of their own; the CPU of a call is
that of the server's process alone, by /proc/PID/stat. Every product was scanned once before, so that its card is
remembered: what it costs to read one is for bench/cold.py.
"""

import asyncio
import os
import statistics
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import uvloop

from bench.load import address, warm
from bench.processes import cpu_seconds
from bench.scanners import bytes_of_products, ground, scanning
from mesh.local.process import Child

SECONDS = float(os.environ.get("BENCH_SECONDS", "4"))
CLIENTS, CALLERS = 2, 16
PRODUCTS = 20_000
"""Each is scanned by a device of its own, in a neighbourhood of its own, a few times in all: the ordinary scan."""
METHODS = {"echo": "/bench.Echo/Echo", "scan": "/voketag.scan.v1.ScanService/Verify"}


@dataclass(frozen=True, slots=True)
class Run:
    """What one run came to: calls a second, microseconds of the server's CPU a call, milliseconds at P50 and P99."""

    rps: float
    cpu: float
    p50: float
    p99: float


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
    callers = [(("x-client-address", address(number)),) for number in range(len(texts))]
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
    command = [sys.executable, "-m", "bench.scan", "client", target, method, str(tokens)]
    pipes = [await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE) for _ in range(CLIENTS)]
    outputs = [(await pipe.communicate())[0] for pipe in pipes]
    took = sorted(int(word) for output in outputs for word in output.split())
    cpu = (cpu_seconds(pid) - before) / len(took) * 1e6
    return Run(len(took) / SECONDS, cpu, took[len(took) // 2] / 1e3, took[len(took) * 99 // 100] / 1e3)


async def main(rounds: int) -> None:
    async with ground() as on, scanning(on) as [service]:
        batch = await on.database.batch(PRODUCTS, state="COMPLETED")
        tokens = Path(on.written("tokens", batch.tokens))
        echo_port, log = service.metrics_port + 1, on.folder / "echo.log"
        bare = Child("echo", [sys.executable, "-m", "bench.scan", "echo", str(echo_port)], log=log, env=os.environ)
        await bare.start()
        pids = {"echo": bare.pid or 0, "scan": service.child.pid or 0}
        targets = {"echo": f"127.0.0.1:{echo_port}", "scan": service.target}
        await warm([service.port], str(tokens))
        runs: dict[str, list[Run]] = {"echo": [], "scan": []}
        valkey: list[float] = []
        for _ in range(rounds + 1):
            for name, results in runs.items():
                before = cpu_seconds(on.valkey_pid)
                results.append(await measure(targets[name], METHODS[name], tokens, pids[name]))
                run = results[-1]
                valkey.append((cpu_seconds(on.valkey_pid) - before) / (run.rps * SECONDS) * 1e6)
                print(
                    f"{name}: {run.rps:7.0f} rps {run.cpu:6.0f} us CPU/call  P50 {run.p50:5.2f}  P99 {run.p99:6.2f} ms"
                )
        kept = await bytes_of_products(on.valkey.url, batch)
        await bare.stop()
    pairs = list(zip(runs["echo"], runs["scan"], strict=True))[1:]  # the first warms up
    print(f"scan / echo, throughput: {statistics.median(s.rps / e.rps for e, s in pairs):.2f}")
    print(f"scan / echo, CPU a call: {statistics.median(s.cpu / e.cpu for e, s in pairs):.2f}")
    print(f"Valkey: {statistics.median(valkey[3::2]):.0f} us CPU a scan, {kept:.0f} bytes a product")


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["echo", port]:
            uvloop.run(echo(int(port)))
        case ["client", target, method, tokens]:
            uvloop.run(client(target, method, Path(tokens)))
        case words:
            asyncio.run(main(int(words[0]) if words else 5))
