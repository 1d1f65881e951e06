"""Verify over JSON through Envoy on a schedule, beside Verify by gRPC past Envoy, in turns; and who takes the CPU.

Run: python -m bench.edge [--rate 660] [--seconds 6] [--rounds 3]. It starts the whole local mesh, journal and ledger
included, in a folder of its own, and stops it. The calls come from an address each, by the x-forwarded-for that an edge
behind one trusted proxy believes; last, from 64 devices that scan everything, which the risk engine has to look into.
Calls start on a fixed schedule whether or not earlier ones have been answered, out of a process of their own, so that a
slow answer is not hidden by the calls it holds up. Short: --seconds 2 --rounds 1.
"""

import argparse
import asyncio
import statistics
import tempfile
import time
from pathlib import Path
from uuid import uuid4

from voketag.factory.v1 import factory_pb2
from voketag.factory.v1.account_pb2_grpc import AccountServiceStub
from voketag.factory.v1.factory_pb2_grpc import FactoryServiceStub

from bench.load import Figures, Plan, load
from bench.processes import Spending
from mesh.cli.accounts import open_account
from mesh.client import peer, with_api_key
from mesh.clock import SystemClock
from mesh.identity import ServiceTokens
from mesh.local.mesh import LocalMesh
from mesh.local.state import StateDirectory

PRODUCTS, BATCH = 5_000, 1_000
BUSY_DEVICES, CONNECTIONS = 64, 64
TARGET = "target: P95 at most 5 ms, P99 at most 15 ms at 660 calls a second, JSON through Envoy"


async def tokens(state: StateDirectory, ports: dict[str, int]) -> list[str]:
    """Of products of a new factory."""
    admin = ServiceTokens("admin", (state.secrets / "identity_admin.pem").read_text(), SystemClock())
    async with peer(f"127.0.0.1:{ports['factory']}", tokens=admin, service="factory") as channel:
        opened = await open_account(AccountServiceStub(channel), "Bench")
    async with with_api_key(f"127.0.0.1:{ports['edge']}", opened.secret) as channel:
        stub, texts = FactoryServiceStub(channel), []
        for number in range(PRODUCTS // BATCH):
            request = factory_pb2.CreateBatchRequest(
                request_id=str(uuid4()), name=f"bench {number}", product_count=BATCH, template={"name": "Bench"},
                return_products=True,
            )  # fmt: skip
            texts += [product.token for product in (await stub.CreateBatch(request)).products]
    return texts


async def measured(name: str, plan: Plan, pids: dict[str, int]) -> Figures:
    """Says it, and what each process of the mesh took of a core."""
    spending, begun = Spending(pids), time.perf_counter()
    figures = await load(plan)
    seconds = time.perf_counter() - begun
    print(f"{name:18} {figures}")
    parts = sorted(spending.seconds().items(), key=lambda part: -part[1])
    shares = ", ".join(f"{which} {part / seconds:.0%}" for which, part in parts if part / seconds >= 0.01)
    busy = figures.cpu * figures.calls / 1e6 / seconds
    print(f"  of a core: {shares}; the caller {busy:.0%}, late by {figures.late:.2f} ms at P99", flush=True)
    return figures


async def main(rate: float, seconds: float, rounds: int) -> None:
    with tempfile.TemporaryDirectory(prefix="voketag-bench-") as folder:
        Path(folder).chmod(0o755)
        state = StateDirectory(Path(folder) / "mesh")
        async with LocalMesh(state, trusted_hops=1).running() as mesh:
            codes = Path(folder) / "tokens"
            codes.write_text("\n".join(await tokens(state, mesh.ports)))
            pids = state.read().pids
            doors = {
                "JSON through Envoy": Plan("json", [mesh.ports["edge"]], str(codes), seconds, CONNECTIONS, rate=rate),
                "gRPC past Envoy": Plan("grpc", [mesh.ports["scan"]], str(codes), seconds, rate=rate),
            }
            series: dict[str, list[Figures]] = {name: [] for name in doors}
            for _ in range(rounds + 1):
                for name, plan in doors.items():
                    series[name].append(await measured(name, plan, pids))
            edge = [mesh.ports["edge"]]
            busy = Plan("json", edge, str(codes), seconds, CONNECTIONS, rate=rate, devices=BUSY_DEVICES)
            await measured("JSON, busy callers", busy, pids)
    for what in ("p50", "p95", "p99"):
        json, grpc = (statistics.median(getattr(run, what) for run in runs[1:]) for runs in series.values())
        print(
            f"{what.upper()}: JSON through Envoy {json:.2f} ms, gRPC past Envoy {grpc:.2f} ms, ratio {json / grpc:.2f}"
        )
    print(TARGET)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=float, default=660)
    parser.add_argument("--seconds", type=float, default=6)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    asyncio.run(main(arguments.rate, arguments.seconds, arguments.rounds))
