"""Verify as many callers ask for it, out of a process of its own: in a closed loop, or on a schedule.

A plan says what to call and how; its process prints the microseconds of each call, and whoever measures reads them.
On a schedule a call's time runs from the moment it was due, so that a slow answer is not hidden by the calls it holds
up; how late the caller itself was is told beside.
Run by the benches: python -m bench.load PLAN-AS-JSON
"""

import asyncio
import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import uvloop

from bench.caller import Connection, GrpcConnection, HttpConnection, grpc_request, http_request
from bench.metronome import Metronome

VERIFY = "/voketag.scan.v1.ScanService/Verify"
ROOT = Path(__file__).parents[1]
WARMING_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Plan:
    """`kind` is grpc or json; connections are spread over the ports; `tokens` is a file of them, a line each.

    `rate` calls a second on a schedule, 0 for a closed loop with one call at a time on each connection. `once`: each
    token once, and the end when there are no more. `devices`: so many take turns; 0 gives each token its own device, in
    a neighbourhood of its own, which is how products are scanned.
    """

    kind: str
    ports: Sequence[int]
    tokens: str
    seconds: float
    connections: int = 8
    rate: float = 0
    once: bool = False
    devices: int = 0


def quantile(values: Sequence[int], percent: int) -> int:
    return sorted(values)[len(values) * percent // 100]


@dataclass(frozen=True, slots=True)
class Figures:
    """Calls, calls a second, milliseconds at P50, P90, P95 and P99; `late`: by how many the caller was late at P99.

    `cpu`: the caller's own microseconds a call.
    """

    calls: int
    rps: float
    p50: float
    p90: float
    p95: float
    p99: float
    late: float
    cpu: float

    @classmethod
    def of(cls, took: Sequence[int], late: Sequence[int], *, seconds: float, cpu: int) -> "Figures":
        """Out of the microseconds of each call, and of each delay before it on a schedule."""
        p50, p90, p95, p99 = (quantile(took, part) / 1e3 for part in (50, 90, 95, 99))
        return cls(
            len(took), len(took) / seconds, p50, p90, p95, p99, quantile(late, 99) / 1e3 if late else 0, cpu / len(took)
        )

    def __str__(self) -> str:
        cuts = f"P50 {self.p50:6.2f}   P90 {self.p90:6.2f}   P95 {self.p95:6.2f}   P99 {self.p99:6.2f} ms"
        return f"{self.rps:8,.0f} rps   {cuts}"


def address(number: int) -> str:
    """Of the device with this number, in a /48 of its own."""
    return f"fd{number >> 24 & 255:02x}:{number >> 16 & 255:x}:{number & 0xFFFF:x}::1"


class Calls:
    """Requests made out of a plan ahead of time."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        texts = Path(plan.tokens).read_text().split()
        shared = plan.devices or len(texts)
        make = self._json if plan.kind == "json" else self._grpc
        # With a prime step, a product's scans come from all devices where they are fewer than the products.
        self._made = [make(text, address((number * 7919) % shared)) for number, text in enumerate(texts)]
        if plan.devices:
            self._made += [make(text, address((number * 104729 + 1) % shared)) for number, text in enumerate(texts)]

    def __len__(self) -> int:
        return len(self._made)

    def at(self, number: int) -> Any:
        """The request of a call."""
        return self._made[number if self._plan.once else number * 613 % len(self._made)]

    def _grpc(self, text: str, caller: str) -> tuple[bytes, bytes]:
        from voketag.scan.v1 import scan_pb2

        message = scan_pb2.VerifyRequest(token=text).SerializeToString()
        return grpc_request(VERIFY, message, x_client_address=caller)

    def _json(self, text: str, caller: str) -> bytes:
        return http_request(f"/api/verify/{text}", b"{}", x_forwarded_for=caller, user_agent="Mozilla/5.0 (iPhone)")


async def connect(plan: Plan) -> list[Connection]:
    loop, made = asyncio.get_running_loop(), []
    factory: Any = HttpConnection if plan.kind == "json" else GrpcConnection
    for number in range(plan.connections):
        _, protocol = await loop.create_connection(factory, "127.0.0.1", plan.ports[number % len(plan.ports)])
        made.append(protocol)
    return made


async def closed(plan: Plan, calls: Calls, connections: list[Connection]) -> tuple[list[float], list[float]]:
    took: list[float] = []
    sent = 0
    end = time.perf_counter() + plan.seconds

    async def one(connection: Connection) -> None:
        nonlocal sent
        while (begun := time.perf_counter()) < end and not (plan.once and sent >= len(calls)):
            sent += 1
            await connection.call(calls.at(sent - 1))
            took.append(time.perf_counter() - begun)

    await asyncio.gather(*map(one, connections))
    return took, []


async def scheduled(plan: Plan, calls: Calls, connections: list[Connection]) -> tuple[list[float], list[float]]:
    took: list[float] = []
    late: list[float] = []
    total = int(plan.rate * plan.seconds)
    if plan.once:
        total = min(total, len(calls))
    free: asyncio.Queue[Connection] = asyncio.Queue()
    for connection in connections * (1 if plan.kind == "json" else 256):  # of HTTP/2, a call of many at once
        free.put_nowait(connection)

    async def one(number: int, due: float) -> None:
        late.append(time.perf_counter() - due)
        connection = await free.get()
        await connection.call(calls.at(number))
        free.put_nowait(connection)
        took.append(time.perf_counter() - due)

    begun, number = time.perf_counter(), 0
    with Metronome(1 / plan.rate) as metronome:
        async with asyncio.TaskGroup() as group:
            while number < total:
                while number < total and (due := begun + number / plan.rate) <= time.perf_counter():
                    group.create_task(one(number, due))
                    number += 1
                await metronome.beat()
    return took, late


async def run(plan: Plan) -> None:
    calls, connections = Calls(plan), await connect(plan)
    before = time.process_time()
    took_and_late = await (scheduled if plan.rate else closed)(plan, calls, connections)
    spent = time.process_time() - before
    for series in took_and_late:
        sys.stdout.write(" ".join(f"{seconds * 1e6:.0f}" for seconds in series) + "\n")
    sys.stdout.write(f"{spent * 1e6:.0f}")


class Load:
    """A plan in a process of its own."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan

    async def start(self) -> None:
        words = [sys.executable, "-m", "bench.load", json.dumps(asdict(self.plan))]
        environment = os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'gen'}"}
        self._process = await asyncio.create_subprocess_exec(
            *words, stdout=asyncio.subprocess.PIPE, env=environment, cwd=ROOT
        )

    async def figures(self) -> Figures:
        """When it has ended. Raises RuntimeError when it failed."""
        output, _ = await self._process.communicate()
        if self._process.returncode:
            raise RuntimeError(f"the load of {self.plan} failed")
        took, late, [cpu] = ([int(word) for word in line.split()] for line in output.splitlines())
        return Figures.of(took, late, seconds=self.plan.seconds, cpu=cpu)


async def load(plan: Plan) -> Figures:
    """What a plan came to."""
    one = Load(plan)
    await one.start()
    return await one.figures()


async def warm(ports: Sequence[int], tokens: str) -> None:
    """Scans every token of a file once at each port, so that its card is remembered there."""
    for port in ports:
        await load(Plan("grpc", [port], tokens, WARMING_SECONDS, once=True))


if __name__ == "__main__":
    uvloop.run(run(Plan(**json.loads(sys.argv[1]))))
