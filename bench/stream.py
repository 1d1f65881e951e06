"""VerifyStream against unary Verify on one server process, in interleaved runs: tokens a second, and CPU a token.

Run: python -m bench.stream [ROUNDS]. The callers are processes of their own, as in bench/scan.py; the CPU of a token is
that of the server's process alone. Last, what streams do to the unary calls beside them.
"""

import asyncio
import os
import statistics
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import uvloop

from bench.load import address, warm
from bench.processes import cpu_seconds
from bench.scanners import ground, scanning

SECONDS = float(os.environ.get("BENCH_SECONDS", "4"))
CLIENTS, CALLERS = 2, 16
CHUNK, IN_FLIGHT = int(os.environ.get("BENCH_CHUNK", "500")), 4
PRODUCTS = 4_000


@dataclass(frozen=True, slots=True)
class Run:
    """What one run came to: tokens a second, microseconds of the server's CPU a token, milliseconds at P50 and P99."""

    tokens: float
    cpu: float
    p50: float
    p99: float


async def unary(target: str, texts: list[str]) -> list[float]:
    """Seconds that each call took."""
    from voketag.scan.v1 import scan_pb2

    requests = [scan_pb2.VerifyRequest(token=text).SerializeToString() for text in texts]
    callers = [(("x-client-address", address(number)),) for number in range(len(texts))]
    took: list[float] = []
    async with grpc.aio.insecure_channel(target, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
        call: Any = channel.unary_unary("/voketag.scan.v1.ScanService/Verify")
        end = time.perf_counter() + SECONDS

        async def caller(number: int) -> None:
            while (begun := time.perf_counter()) < end:
                place = (len(took) * 7 + number * 613) % len(requests)
                await call(requests[place], metadata=callers[place])
                took.append(time.perf_counter() - begun)

        await asyncio.gather(*[caller(number) for number in range(CALLERS)])
    return took


async def stream(target: str, texts: list[str]) -> list[float]:
    """Seconds that each chunk took, IN_FLIGHT of them at once on one stream."""
    from voketag.scan.v1 import scan_pb2, scan_pb2_grpc

    chunks = [texts[start : start + CHUNK] for start in range(0, len(texts) - CHUNK + 1, CHUNK)]
    sent: list[float] = []
    took: list[float] = []
    free = asyncio.Semaphore(IN_FLIGHT)

    async def frames() -> AsyncIterator[scan_pb2.VerifyStreamRequest]:
        yield scan_pb2.VerifyStreamRequest(header=scan_pb2.VerifyStreamHeader())
        end = time.perf_counter() + SECONDS
        while time.perf_counter() < end:
            await free.acquire()
            number = len(sent)
            sent.append(time.perf_counter())
            chunk = scan_pb2.TokenChunk(sequence=number, tokens=chunks[number % len(chunks)])
            yield scan_pb2.VerifyStreamRequest(chunk=chunk)

    async with grpc.aio.insecure_channel(target, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
        stub: scan_pb2_grpc.ScanServiceAsyncStub = scan_pb2_grpc.ScanServiceStub(channel)
        async for answer in stub.VerifyStream(frames()):
            assert len(answer.results) == CHUNK
            assert answer.results[0].status == scan_pb2.TOKEN_STATUS_SCANNED
            took.append(time.perf_counter() - sent[answer.sequence])
            free.release()
    return took


async def client(kind: str, target: str, tokens: Path) -> None:
    took = await {"unary": unary, "stream": stream}[kind](target, tokens.read_text().split())
    sys.stdout.write(" ".join(f"{seconds * 1e6:.0f}" for seconds in took))


async def started(kind: str, target: str, tokens: Path, count: int = CLIENTS) -> list[asyncio.subprocess.Process]:
    command = [sys.executable, "-m", "bench.stream", "client", kind, target, str(tokens)]
    return [await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE) for _ in range(count)]


async def ended(pipes: list[asyncio.subprocess.Process]) -> list[int]:
    outputs = [(await pipe.communicate())[0] for pipe in pipes]
    return sorted(int(word) for output in outputs for word in output.split())


async def measure(kind: str, target: str, tokens: Path, pid: int) -> Run:
    before = cpu_seconds(pid)
    took = await ended(await started(kind, target, tokens))
    count = len(took) * (CHUNK if kind == "stream" else 1)
    cpu = (cpu_seconds(pid) - before) / count * 1e6
    return Run(count / SECONDS, cpu, took[len(took) // 2] / 1e3, took[len(took) * 99 // 100] / 1e3)


async def main(rounds: int) -> None:
    async with ground() as on, scanning(on) as [service]:
        batch = await on.database.batch(PRODUCTS, state="COMPLETED")
        tokens = Path(on.written("tokens", batch.tokens))
        pid = service.child.pid or 0
        await warm([service.port], str(tokens))
        runs: dict[str, list[Run]] = {"unary": [], "stream": []}
        for _ in range(rounds + 1):
            for kind, results in runs.items():
                results.append(await measure(kind, service.target, tokens, pid))
                run = results[-1]
                took = f"P50 {run.p50:6.2f}  P99 {run.p99:6.2f} ms a {'chunk' if kind == 'stream' else 'call'}"
                print(f"{kind:6}: {run.tokens:7.0f} tokens/s {run.cpu:6.1f} us CPU/token  {took}", flush=True)
        pairs = list(zip(runs["unary"], runs["stream"], strict=True))[1:]  # the first warms up
        print(f"stream / unary, tokens a second: {statistics.median(s.tokens / u.tokens for u, s in pairs):.2f}")
        print(f"stream / unary, tokens a core:   {statistics.median(u.cpu / s.cpu for u, s in pairs):.2f}")
        beside = await started("stream", service.target, tokens, 1)
        calls = await ended(await started("unary", service.target, tokens, 1))
        await ended(beside)
        p50, p99 = calls[len(calls) // 2] / 1e3, calls[len(calls) * 99 // 100] / 1e3
        print(f"unary beside one stream: P50 {p50:.2f}  P99 {p99:.2f} ms")


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["client", kind, target, tokens]:
            uvloop.run(client(kind, target, Path(tokens)))
        case words:
            asyncio.run(main(int(words[0]) if words else 5))
