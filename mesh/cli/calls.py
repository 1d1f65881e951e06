"""`voketag calls`: a receipt as calls of the contract."""

from typing import BinaryIO

import click

from mesh.cli.console import errors
from trust import calls as onchain
from trust.receipt import Receipt, ReceiptMalformedError

UNREADABLE, PENDING = 2, 3


@click.command()
@click.argument("file", type=click.File("rb"))
def calls(file: BinaryIO) -> None:
    """Print the calls of the contract that check a receipt on the chain, as JSON.

    Exit status: 0 printed, 2 not a receipt, 3 not anchored yet.
    """
    try:
        click.echo(onchain.to_json(Receipt.from_json(file.read())))
    except ReceiptMalformedError as error:
        errors.print(f"[red]{error}[/]")
        raise SystemExit(UNREADABLE) from error
    except onchain.ReceiptPendingError as error:
        errors.print("[yellow]Not anchored yet: fetch the receipt again later.[/]")
        raise SystemExit(PENDING) from error
