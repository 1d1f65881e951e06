"""`voketag verify`: checks a receipt without asking VokeTag."""

from typing import BinaryIO

import click

from mesh.cli.console import console, errors
from trust import receipt
from trust.rpc import ChainUnreachableError, JsonRpcChain

MARKS = {"PASSED": "[green]✓[/]", "FAILED": "[red]✗[/]", "NOT_CHECKED": "[yellow]–[/]"}
VALID, INVALID, UNREADABLE, PENDING = 0, 1, 2, 3


@click.command()
@click.argument("file", type=click.File("rb"))
@click.option(
    "--rpc", metavar="URL", help="JSON-RPC of a chain node that you trust; without it the chain is not asked."
)
def verify(file: BinaryIO, rpc: str | None) -> None:
    """Check a receipt: product, batch root, anchored root, and with --rpc the block on the chain.

    Exit status: 0 valid, 1 refused, 2 not a receipt or the chain cannot be asked, 3 not anchored yet.
    """
    try:
        document = receipt.Receipt.from_json(file.read())
        result = receipt.verify(document, JsonRpcChain(rpc) if rpc else None)
    except (receipt.ReceiptMalformedError, ChainUnreachableError, ValueError) as error:
        errors.print(f"[red]{error}[/]")
        raise SystemExit(UNREADABLE) from error
    for step in result.steps:
        console.print(f"{MARKS[step.outcome.name]} {step.name}: {step.detail}", soft_wrap=True)
    if result.pending:
        console.print("[yellow]Not anchored yet: fetch the receipt again later.[/]")
        raise SystemExit(PENDING)
    console.print("[green]The receipt is valid.[/]" if result.valid else "[red]The receipt is refused.[/]")
    raise SystemExit(VALID if result.valid else INVALID)
