"""`voketag products change`: moves products to another state, as many calls as it takes."""

import asyncio
from typing import Any, TextIO
from uuid import uuid4

import click
import grpc
from voketag.factory.v1 import factory_pb2
from voketag.factory.v1.lifecycle_pb2 import (
    ChangeProductsRequest,
    ChangeProductsResponse,
    ProductIds,
    SerialRange,
)
from voketag.factory.v1.lifecycle_pb2_grpc import LifecycleServiceStub

from mesh.cli.connection import as_factory, explain
from mesh.cli.console import console
from mesh.cli.order import local_key

CALLS = 100
CALL_SECONDS = 10
PREFIX = "PRODUCT_STATE_"
STATES = [name.removeprefix(PREFIX).lower() for name in factory_pb2.ProductState.keys()[2:]]


async def change(channel: grpc.aio.Channel, request: ChangeProductsRequest) -> ChangeProductsResponse:
    """The change, asked for again where a deadline cut it off, for it goes on there. Raises grpc.aio.AioRpcError."""
    stub: Any = LifecycleServiceStub(channel)
    for call in range(1, CALLS + 1):
        try:
            answer: ChangeProductsResponse = await stub.ChangeProducts(request, timeout=CALL_SECONDS)
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.DEADLINE_EXCEEDED or call == CALLS:
                raise
        else:
            return answer
    raise AssertionError("the last call answers or raises")


def selection(batch: str | None, serials: tuple[str, str] | None, ids: tuple[str, ...]) -> dict[str, Any]:
    """The request's products. Raises UsageError."""
    if bool(batch) == bool(ids) or (serials and not batch):
        raise click.UsageError("say --batch, with --serials for a part of it, or the ids of products")
    if serials:
        return {"serials": SerialRange(batch_id=str(batch), first=serials[0], last=serials[1])}
    return {"batch_id": batch} if batch else {"ids": ProductIds(product_ids=ids)}


@click.group()
def products() -> None:
    """Say what became of products."""


@products.command("change")
@click.argument("ids", nargs=-1, metavar="[PRODUCT_ID]...")
@click.option("--batch", metavar="ID", help="All products of a batch.")
@click.option("--serials", nargs=2, metavar="FIRST LAST", help="Of the batch, those between two serial numbers.")
@click.option("--to", "state", required=True, type=click.Choice(STATES), help="The state to reach.")
@click.option("--note", default="", help="Why; kept with the events.")
@click.option("--target", metavar="HOST:PORT", help="The edge; else the local mesh's.")
@click.option("--api-key-file", type=click.File(), help="Your factory's API key; else a local factory's.")
def change_command(*, state: str, note: str, target: str | None, api_key_file: TextIO | None, **wanted: Any) -> None:
    """Move products to another state; those whose state does not allow the step stay as they are."""
    request = ChangeProductsRequest(
        request_id=str(uuid4()),
        to_state=factory_pb2.ProductState.Value(PREFIX + state.upper()),
        note=note,
        **selection(**wanted),
    )
    key = api_key_file.read().strip() if api_key_file else local_key()

    async def run() -> ChangeProductsResponse:
        async with as_factory(target, key) as channel:
            return await change(channel, request)

    try:
        answer = asyncio.run(run())
    except grpc.aio.AioRpcError as error:
        raise explain(error) from error
    console.print(f"changed    {answer.changed_count:,}")
    console.print(f"unchanged  {answer.unchanged_count:,}")
    console.print(f"refused    {answer.refused_count:,}")
