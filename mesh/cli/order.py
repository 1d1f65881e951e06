"""`voketag order`: a batch from a CSV file, followed to the chain."""

import asyncio
import csv
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TextIO
from uuid import uuid4

import click
import grpc
from rich.markup import escape
from rich.progress import Progress
from voketag.factory.v1 import factory_pb2
from voketag.factory.v1.factory_pb2_grpc import FactoryServiceStub

from mesh.cli.accounts import open_account, operate
from mesh.cli.connection import as_factory, explain
from mesh.cli.console import console, home, rows_progress
from mesh.cli.importer import Importer, OnAck
from mesh.cli.products import CsvError, ProductsCsv
from mesh.local.files import write_whole

if TYPE_CHECKING:
    from voketag.factory.v1.factory_pb2_grpc import FactoryServiceAsyncStub

SHOWN_ERRORS = 10


@dataclass
class Order:
    """What came of an order."""

    batch: factory_pb2.Batch
    url_prefix: str
    tokens: list[str] = field(default_factory=list)
    refused: list[factory_pb2.RowError] = field(default_factory=list)
    import_seconds: float = 0.0
    anchor_seconds: float = 0.0


@dataclass(frozen=True)
class OrderRequest:
    """What to order: the file, the batch's name, and where tokens go."""

    products: ProductsCsv
    name: str
    out: Path | None = None
    wait: bool = True


async def place(channel: grpc.aio.Channel, key: str, request: OrderRequest) -> Order:
    """Imports the file as one batch and waits until its root is final on the chain.

    Raises grpc.aio.AioRpcError, CsvError.
    """
    stub = FactoryServiceStub(channel)
    header = factory_pb2.ImportHeader(request_id=str(uuid4()), name=request.name)
    importer = Importer(stub, key, header)
    order = Order(factory_pb2.Batch(), "")
    started = time.monotonic()
    with rows_progress() as progress, ExitStack() as stack:
        accept = _acceptor(order, request, progress, stack)
        order.batch = await importer.run(request.products.rows, accept)
    order.url_prefix = importer.url_prefix
    order.import_seconds = time.monotonic() - started
    if request.wait:
        order.batch = await _followed(stub, order.batch)
        order.anchor_seconds = time.monotonic() - started - order.import_seconds
    return order


def _acceptor(order: Order, request: OrderRequest, progress: Progress, stack: ExitStack) -> OnAck:
    """Takes acknowledgements: keeps the first tokens, writes all of them to the file."""
    task = progress.add_task("importing", total=request.products.count())
    writer = None
    if request.out:
        writer = csv.writer(
            stack.enter_context(request.out.open("w", newline="", encoding="utf-8")), lineterminator="\n"
        )
        writer.writerow(("row", "token"))

    def accept(ack: factory_pb2.ImportAck) -> None:
        refused = {error.row for error in ack.errors}
        order.refused.extend(ack.errors)
        if len(order.tokens) < 2:
            order.tokens.extend(ack.tokens[:2])
        if writer:
            good = (row for row in range(ack.first_row, ack.committed_rows) if row not in refused)
            writer.writerows(zip(good, ack.tokens, strict=True))
        progress.update(task, completed=ack.committed_rows)

    return accept


async def _followed(stub: "FactoryServiceAsyncStub", batch: factory_pb2.Batch) -> factory_pb2.Batch:
    """The batch when it has ended, after showing each state on the way."""
    with console.status("waiting for the anchor") as status:
        async for update in stub.WatchBatch(factory_pb2.WatchBatchRequest(batch_id=batch.batch_id)):
            batch = update.batch
            status.update(f"waiting for the anchor: {state_name(batch)}")
    return batch


def state_name(batch: factory_pb2.Batch) -> str:
    """COMPLETED and so on."""
    return factory_pb2.BatchState.Name(batch.state).removeprefix("BATCH_STATE_")


def local_key() -> str:
    """The API key of the local mesh's own factory, opened when there is none yet."""
    path = home() / "secrets" / "local_factory_api_key"
    if not path.exists():
        issued = operate(None, None, lambda stub: open_account(stub, "Local factory"))
        write_whole(path, issued.secret.encode())
    return path.read_text().strip()


def report(order: Order) -> None:
    """Says what came of the order."""
    batch = order.batch
    rate = batch.issued_count / order.import_seconds if order.import_seconds else 0
    console.print(
        f"batch [bold]{batch.batch_id}[/]: {batch.issued_count:,} products issued in {order.import_seconds:.2f} s"
        f" ({rate:,.0f}/s), {batch.refused_count:,} rows refused, state {state_name(batch)}"
    )
    for error in order.refused[:SHOWN_ERRORS]:
        console.print(f"  [yellow]row {error.row}, {error.column}:[/] {escape(error.message)}")
    if len(order.refused) > SHOWN_ERRORS:
        console.print(f"  … and {len(order.refused) - SHOWN_ERRORS:,} more")
    if batch.HasField("anchor"):
        console.print(
            f"root {batch.root.hex()} in block {batch.anchor.block_number} of chain {batch.anchor.chain_id}"
            f" after {order.anchor_seconds:.1f} s",
            soft_wrap=True,
        )
    if order.tokens:
        console.print(f"first link {order.url_prefix}{order.tokens[0]}", soft_wrap=True)


@click.command()
@click.option("--csv", "path", required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--name", help="Name of the batch; else the file's.")
@click.option("--target", metavar="HOST:PORT", help="The edge; else the local mesh's.")
@click.option("--api-key-file", type=click.File(), help="Your factory's API key; else a local factory's.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Write a CSV of row and token.")
@click.option("--wait/--no-wait", default=True, help="Wait until the root is final on the chain.")
def order(
    *,
    path: Path,
    name: str | None,
    target: str | None,
    api_key_file: TextIO | None,
    out: Path | None,
    wait: bool,
) -> None:
    """Order a batch of the products in a CSV file: gtin, name, sku, serial, market, expiry, or your own columns."""
    key = api_key_file.read().strip() if api_key_file else local_key()

    async def run(request: OrderRequest) -> Order:
        async with as_factory(target, key) as channel:
            return await place(channel, key, request)

    try:
        done = asyncio.run(run(OrderRequest(ProductsCsv(path), name or path.stem, out, wait)))
    except grpc.aio.AioRpcError as error:
        raise explain(error) from error
    except CsvError as error:
        raise click.ClickException(str(error)) from error
    report(done)
    if wait and done.batch.state != factory_pb2.BATCH_STATE_COMPLETED:
        raise click.ClickException(f"the batch ended {state_name(done.batch)}: {done.batch.failure}")
