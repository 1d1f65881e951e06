"""ChangeProducts of a batch, a range of serial numbers and a list, beside one bare UPDATE of the same rows, in one run.

Run from the repository: python -m bench.lifecycle [PRODUCTS]. Server and PostgreSQL are processes of their own.
"""

import sys
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import grpc
import uvloop
from voketag.factory.v1 import factory_pb2, factory_pb2_grpc, lifecycle_pb2, lifecycle_pb2_grpc

from bench.factory import CHUNK, chunk, ground, quantile, server
from tests.integration.factory.world import Ground

LISTS = 40
LISTED = 1_000
LONGEST = """
SELECT max(pause) FROM (
  SELECT extract(epoch FROM at - lag(at) OVER (ORDER BY audit_id))::float AS pause FROM audit WHERE request_id = $1
) AS stretch
"""


async def imported(stub: Any, metadata: Any, count: int) -> str:
    """The id of a batch of so many products, whose serial numbers are theirs."""

    async def frames() -> AsyncIterator[factory_pb2.ImportProductsRequest]:
        header = factory_pb2.ImportHeader(request_id=str(uuid4()), name="bench")
        yield factory_pb2.ImportProductsRequest(header=header)
        for first in range(0, count, CHUNK):
            yield factory_pb2.ImportProductsRequest(chunk=chunk(first, min(CHUNK, count - first)))
        yield factory_pb2.ImportProductsRequest(end=factory_pb2.ImportEnd(row_count=count))

    batch_id = ""
    async for answer in stub.ImportProducts(frames(), metadata=metadata):
        batch_id = answer.opened.batch.batch_id or batch_id
    return batch_id


class Changer:
    """A factory that changes its products and looks at the clock."""

    def __init__(self, stub: Any, metadata: Any) -> None:
        self._stub = stub
        self._metadata = metadata
        self.request_id = ""

    async def change(self, expected: int, to_state: factory_pb2.ProductState.ValueType, **selection: Any) -> float:
        """Seconds until so many have changed."""
        self.request_id = str(uuid4())
        request = lifecycle_pb2.ChangeProductsRequest(request_id=self.request_id, to_state=to_state, **selection)
        started = time.perf_counter()
        answer = await self._stub.ChangeProducts(request, metadata=self._metadata, timeout=600)
        seconds = time.perf_counter() - started
        assert answer.changed_count == expected, answer
        return seconds


async def bare_update(on: Ground, batch_id: str) -> float:
    """Seconds of one UPDATE, which writes no event and holds every product until its end."""
    async with on.owner() as owner:
        started = time.perf_counter()
        await owner.execute("UPDATE products SET state = 1 WHERE batch_id = $1", batch_id)
        return time.perf_counter() - started


async def main(count: int) -> None:
    with tempfile.TemporaryDirectory(prefix="voketag-bench-") as name:
        Path(name).chmod(0o755)
        async with (
            ground(Path(name)) as (on, _),
            server(on) as (door, _),
            grpc.aio.insecure_channel(door.target) as way,
        ):
            _, key = await door.new_factory()
            metadata = (("x-api-key", key),)
            stub = factory_pb2_grpc.FactoryServiceStub(way)
            batch_id = await imported(stub, metadata, count)
            changer = Changer(lifecycle_pb2_grpc.LifecycleServiceStub(way), metadata)
            listing = factory_pb2.ListProductsRequest(batch_id=batch_id, page_size=LISTED)
            page: Any = await stub.ListProducts(listing, metadata=metadata)
            ids = lifecycle_pb2.ProductIds(product_ids=[item.product_id for item in page.products])
            serials = lifecycle_pb2.SerialRange(batch_id=batch_id, first="0", last="9")
            sold, recalled = factory_pb2.PRODUCT_STATE_SOLD, factory_pb2.PRODUCT_STATE_RECALLED
            whole = await changer.change(count, sold, batch_id=batch_id)
            async with on.owner() as owner:
                longest = await owner.fetchval(LONGEST, changer.request_id)
            ranged = await changer.change(count, recalled, serials=serials)
            listed = [await changer.change(LISTED, recalled if n % 2 else sold, ids=ids) for n in range(LISTS)]
            bare = await bare_update(on, batch_id)
    print(f"ChangeProducts of a batch of {count:,}: {whole:.1f} s, {count / whole:,.0f} products/s")
    print(f"longest of its transactions: {longest * 1e3:.0f} ms")
    print(f"by serial numbers: {ranged:.1f} s, {count / ranged:,.0f} products/s")
    print(f"one bare UPDATE of the same rows: {bare:.1f} s; ratio {bare / whole:.2f}")
    print(f"a list of {LISTED:,}: P50 {quantile(listed, 0.5) * 1e3:.1f} ms, P95 {quantile(listed, 0.95) * 1e3:.1f} ms")


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000))
