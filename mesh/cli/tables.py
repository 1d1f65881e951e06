"""`voketag import` and `voketag export`: a batch from a CSV file, and its products as a file."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import BinaryIO, TextIO
from uuid import uuid4

import click
import grpc
from rich.markup import escape
from rich.progress import Progress, TaskID
from voketag.factory.v1 import factory_pb2, table_pb2
from voketag.factory.v1.factory_pb2_grpc import FactoryServiceStub
from voketag.factory.v1.table_pb2_grpc import TableServiceStub

from mesh.cli.connection import as_factory, explain
from mesh.cli.console import bytes_progress, console, rows_progress
from mesh.cli.importer import BACKOFF_SECONDS, LONGEST_SECONDS, TRIES, broken_off
from mesh.cli.order import local_key

PIECE_BYTES = 256 * 1024
SHOWN_ERRORS = 20
FORMATS = {"csv": table_pb2.EXPORT_FORMAT_CSV, "jsonl": table_pb2.EXPORT_FORMAT_JSON_LINES}


async def import_file(
    channel: grpc.aio.Channel, key: str, file: BinaryIO, header: table_pb2.CsvHeader
) -> table_pb2.ImportCsvResponse:
    """The report on a file, which is sent again when the connection breaks. Raises grpc.aio.AioRpcError."""
    stub = TableServiceStub(channel)
    size = file.seek(0, 2)
    with bytes_progress() as progress:
        task = progress.add_task("importing", total=size)
        for failed in range(1, TRIES + 1):
            progress.update(task, completed=file.seek(0))
            try:
                # The key goes along as metadata: a client interceptor on a written stream leaves a generator running.
                frames = _frames(file, header, progress, task)
                answer: table_pb2.ImportCsvResponse = await stub.ImportCsv(frames, metadata=(("x-api-key", key),))
                return answer
            except grpc.aio.AioRpcError as error:
                if not broken_off(error) or failed == TRIES:
                    raise
            await asyncio.sleep(min(BACKOFF_SECONDS * 2**failed, LONGEST_SECONDS))
    raise AssertionError("the last try returns or raises")


async def _frames(
    file: BinaryIO, header: table_pb2.CsvHeader, progress: Progress, task: TaskID
) -> AsyncIterator[table_pb2.ImportCsvRequest]:
    yield table_pb2.ImportCsvRequest(header=header)
    while piece := file.read(PIECE_BYTES):
        yield table_pb2.ImportCsvRequest(data=piece)
        progress.advance(task, len(piece))


async def export_file(
    channel: grpc.aio.Channel, batch_id: str, form: table_pb2.ExportFormat.ValueType, file: BinaryIO
) -> factory_pb2.Batch:
    """The batch whose products are in the file now. Raises grpc.aio.AioRpcError."""
    answer = await FactoryServiceStub(channel).GetBatch(factory_pb2.GetBatchRequest(batch_id=batch_id))
    batch: factory_pb2.Batch = answer.batch
    with rows_progress() as progress:
        task = progress.add_task("exporting", total=batch.issued_count)
        request = table_pb2.ExportProductsRequest(batch_id=batch_id, format=form)
        async for response in TableServiceStub(channel).ExportProducts(request):
            file.write(response.data)
            progress.advance(task, response.data.count(b"\n"))
    return batch


def report(answer: table_pb2.ImportCsvResponse, path: Path) -> None:
    """Says what came of an import."""
    console.print(f"{answer.row_count:,} rows read, {answer.refused_count:,} refused")
    for error in answer.errors[:SHOWN_ERRORS]:
        place = f"{path}:{error.line}{f', {error.column}' if error.column else ''}"
        value = f" {error.value!r}" if error.value else ""
        console.print(f"  [yellow]{escape(place)}:[/]{escape(value)} {escape(error.message)}", soft_wrap=True)
    if answer.refused_count > SHOWN_ERRORS:
        console.print(f"  … and {answer.refused_count - SHOWN_ERRORS:,} more")
    if answer.HasField("batch"):
        console.print(f"batch [bold]{answer.batch.batch_id}[/]: {answer.batch.issued_count:,} products issued")
    else:
        console.print("nothing was issued")


@click.command("import")
@click.option("--csv", "path", required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--name", help="Name of the batch; else the file's.")
@click.option("--dry-run", is_flag=True, help="Check the file and issue nothing.")
@click.option("--all-or-nothing", is_flag=True, help="Issue nothing if any row is refused.")
@click.option("--target", metavar="HOST:PORT", help="The edge; else the local mesh's.")
@click.option("--api-key-file", type=click.File(), help="Your factory's API key; else a local factory's.")
def import_(
    *,
    path: Path,
    name: str | None,
    dry_run: bool,
    all_or_nothing: bool,
    target: str | None,
    api_key_file: TextIO | None,
) -> None:
    """Import a CSV file as one batch; a report names line, column and value of what is refused."""
    key = api_key_file.read().strip() if api_key_file else local_key()
    header = table_pb2.CsvHeader(
        request_id=str(uuid4()), name=name or path.stem, dry_run=dry_run, all_or_nothing=all_or_nothing
    )

    async def run() -> table_pb2.ImportCsvResponse:
        with path.open("rb") as file:
            async with as_factory(target, key) as channel:
                return await import_file(channel, key, file, header)

    try:
        answer = asyncio.run(run())
    except grpc.aio.AioRpcError as error:
        raise explain(error) from error
    report(answer, path)
    if not dry_run and not answer.HasField("batch"):
        raise SystemExit(1)


@click.command()
@click.argument("batch_id", type=click.UUID)
@click.option("--format", "form", type=click.Choice(list(FORMATS)), default="csv", show_default=True)
@click.option("--out", required=True, type=click.Path(dir_okay=False, path_type=Path), help="The file to write.")
@click.option("--target", metavar="HOST:PORT", help="The edge; else the local mesh's.")
@click.option("--api-key-file", type=click.File(), help="Your factory's API key; else a local factory's.")
def export(*, batch_id: object, form: str, out: Path, target: str | None, api_key_file: TextIO | None) -> None:
    """Export the products of a batch with their tokens, links, states and attributes."""
    key = api_key_file.read().strip() if api_key_file else local_key()
    whole = out.with_name(f"{out.name}.part")

    async def run() -> factory_pb2.Batch:
        with whole.open("wb") as file:
            async with as_factory(target, key) as channel:
                return await export_file(channel, str(batch_id), FORMATS[form], file)

    try:
        batch = asyncio.run(run())
    except grpc.aio.AioRpcError as error:
        whole.unlink()
        raise explain(error) from error
    whole.replace(out)
    console.print(f"batch [bold]{batch_id}[/]: {batch.issued_count:,} products in {escape(str(out))}", soft_wrap=True)
