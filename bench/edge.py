"""Verify over JSON through Envoy at a steady rate, beside Verify by gRPC past Envoy, in turn.

Needs `voketag up --trusted-hops 1` in another terminal, so that the calls seem to come from many addresses.
Run: python -m bench.edge [--rate 300] [--seconds 5]
Calls start on a fixed schedule whether or not earlier ones have been answered, so that a slow answer is not hidden by
the calls it holds up.
"""

import argparse
import asyncio
import json
import statistics
import time
from collections.abc import Awaitable, Callable
from uuid import uuid4

import aiohttp
import grpc
from voketag.factory.v1 import factory_pb2
from voketag.factory.v1.factory_pb2_grpc import FactoryServiceStub
from voketag.scan.v1 import scan_pb2
from voketag.scan.v1.scan_pb2_grpc import ScanServiceStub

from mesh.cli.connection import as_factory, local_port
from mesh.cli.order import local_key

ROUNDS = 4
Call = Callable[[int], Awaitable[object]]


async def tokens(key: str) -> list[str]:
    """A thousand products of the local factory."""
    async with as_factory(None, key) as channel:
        request = factory_pb2.CreateBatchRequest(
            request_id=str(uuid4()), name="bench", product_count=1000, template={"name": "Bench"}, return_products=True
        )
        return [product.token for product in (await FactoryServiceStub(channel).CreateBatch(request)).products]


async def steady(call: Call, rate: int, seconds: float) -> list[float]:
    """Latencies in ms, measured from the moment a call was due."""
    started = time.perf_counter()

    async def one(number: int) -> float:
        due = started + number / rate
        await asyncio.sleep(max(due - time.perf_counter(), 0))
        await call(number)
        return (time.perf_counter() - due) * 1000

    return list(await asyncio.gather(*(one(number) for number in range(int(rate * seconds)))))


def show(name: str, latencies: list[float]) -> None:
    """P50, P95 and P99 of a series."""
    cuts = statistics.quantiles(latencies, n=100)
    print(f"{name:28} P50 {cuts[49]:6.2f}   P95 {cuts[94]:6.2f}   P99 {cuts[98]:6.2f} ms   ({len(latencies)} calls)")


async def main(key: str, rate: int, seconds: float) -> None:
    """Prints both series and their ratio."""
    codes = await tokens(key)
    edge = f"http://127.0.0.1:{local_port('edge')}/api/verify/"
    series: dict[str, list[float]] = {"JSON through Envoy": [], "gRPC past Envoy": []}
    addresses = [{"x-forwarded-for": f"10.{n % 250}.{n // 250 % 250}.7"} for n in range(1000)]
    async with (
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=64)) as session,
        grpc.aio.insecure_channel(f"127.0.0.1:{local_port('scan')}") as channel,
    ):
        stub = ScanServiceStub(channel)

        async def by_json(number: int) -> None:
            async with session.post(edge + codes[number % 1000], json={}, headers=addresses[number % 1000]) as answer:
                body = json.loads(await answer.read())
                assert body["verdict"] == "VERDICT_GENUINE_CODE", body

        async def by_grpc(number: int) -> None:
            metadata = (("x-client-address", f"10.{number % 250}.{number // 250 % 250}.7"),)
            await stub.Verify(scan_pb2.VerifyRequest(token=codes[number % 1000]), metadata=metadata)

        for _ in range(ROUNDS):
            series["JSON through Envoy"] += await steady(by_json, rate, seconds)
            series["gRPC past Envoy"] += await steady(by_grpc, rate, seconds)
    for name, latencies in series.items():
        show(name, latencies)
    medians = [statistics.median(latencies) for latencies in series.values()]
    print(f"JSON through Envoy ÷ gRPC past Envoy, medians: {medians[0] / medians[1]:.2f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=int, default=300)
    parser.add_argument("--seconds", type=float, default=5)
    arguments = parser.parse_args()
    asyncio.run(main(local_key(), arguments.rate, arguments.seconds))
