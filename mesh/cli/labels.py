"""`voketag labels`: a batch's labels as one file."""

import asyncio
from pathlib import Path
from typing import Any, TextIO

import click
import grpc
from rich.progress import Progress
from voketag.factory.v1 import label_pb2
from voketag.factory.v1.label_pb2_grpc import LabelServiceStub

from mesh.cli.connection import as_factory, explain
from mesh.cli.console import console, rows_progress
from mesh.cli.order import local_key

FORMATS = {"zip": label_pb2.LABEL_FORMAT_ZIP_SVG, "pdf": label_pb2.LABEL_FORMAT_PDF}


async def fetch(channel: grpc.aio.Channel, request: label_pb2.MakeLabelsRequest, out: Path, progress: Progress) -> int:
    """Writes the file and gives the number of its labels; under its own name it is there whole or not at all.

    Raises grpc.aio.AioRpcError.
    """
    task, drawn = progress.add_task("drawing labels", total=None), 0
    unfinished = out.with_name(f"{out.name}.part")
    try:
        with unfinished.open("wb") as file:
            async for piece in LabelServiceStub(channel).MakeLabels(request):
                file.write(piece.data)
                drawn = piece.drawn
                progress.update(task, completed=drawn, total=piece.label_count)
        unfinished.replace(out)
    finally:
        unfinished.unlink(missing_ok=True)
    return drawn


@click.command()
@click.argument("batch_id")
@click.option("--format", "form", required=True, type=click.Choice(sorted(FORMATS)), help="SVG files, or A4 pages.")
@click.option("--out", required=True, type=click.Path(dir_okay=False, path_type=Path), help="The file to write.")
@click.option("--level", type=click.Choice("LMQH", case_sensitive=False), default="M", help="Error correction.")
@click.option("--first", "first_index", type=click.IntRange(0), default=0, help="Index of the first product.")
@click.option("--count", "max_labels", type=click.IntRange(0), default=0, help="Labels at most; 0 means all.")
@click.option("--columns", type=click.IntRange(1, 20), help="Labels across a page; else 5.")
@click.option("--rows", type=click.IntRange(1, 30), help="Labels down a page; else 8.")
@click.option("--margin-mm", type=click.FloatRange(0, 50), help="Margin of a page; else 10.")
@click.option("--code-mm", type=click.FloatRange(10, 100), help="Edge of a code; else as large as fits.")
@click.option("--target", metavar="HOST:PORT", help="The edge; else the local mesh's.")
@click.option("--api-key-file", type=click.File(), help="Your factory's API key; else a local factory's.")
def labels(*, form: str, out: Path, target: str | None, api_key_file: TextIO | None, **wanted: Any) -> None:
    """Make the labels of a batch: a ZIP of SVG files, or a PDF of at most 10,000 labels on A4 pages."""
    key = api_key_file.read().strip() if api_key_file else local_key()
    grid = {name: wanted.pop(name) for name in ("columns", "rows", "margin_mm", "code_mm")}
    request = label_pb2.MakeLabelsRequest(
        format=FORMATS[form],
        error_level=label_pb2.ErrorLevel.Value(f"ERROR_LEVEL_{wanted.pop('level').upper()}"),
        grid=label_pb2.LabelGrid(**grid),
        **wanted,
    )

    async def run() -> int:
        async with as_factory(target, key) as channel:
            with rows_progress() as progress:
                return await fetch(channel, request, out, progress)

    try:
        drawn = asyncio.run(run())
    except grpc.aio.AioRpcError as error:
        raise explain(error) from error
    console.print(f"{drawn:,} labels in {out}", soft_wrap=True)
