"""`voketag verify`: checks a receipt without asking VokeTag."""

from typing import TYPE_CHECKING, BinaryIO

import click

from mesh.cli.console import console, errors
from trust import receipt
from trust.rpc import ChainUnreachableError, JsonRpcChain

if TYPE_CHECKING:
    from trust.stamp import StampChecker

MARKS = {"PASSED": "[green]✓[/]", "FAILED": "[red]✗[/]", "NOT_CHECKED": "[yellow]–[/]"}
VALID, INVALID, UNREADABLE, PENDING = 0, 1, 2, 3


@click.command()
@click.argument("file", type=click.File("rb"))
@click.option(
    "--rpc",
    metavar="URL",
    multiple=True,
    help="JSON-RPC of a chain node that you trust; without it the chain is not asked. One for each chain.",
)
@click.option(
    "--tsa",
    metavar="FILE",
    type=click.File("rb"),
    help="Certificates, in PEM, of time-stamp authorities that you trust; without it time stamps are not checked.",
)
def verify(file: BinaryIO, rpc: tuple[str, ...], tsa: BinaryIO | None) -> None:
    """Check a receipt: product, batch root, anchored root, with --rpc the blocks on chains, with --tsa time stamps.

    Exit status: 0 valid, 1 refused, 2 not a receipt or the chain cannot be asked, 3 not anchored yet.
    """
    try:
        document = receipt.Receipt.from_json(file.read())
        chain, others = _chains(document, rpc)
        result = receipt.verify(document, chain, others=others, stamps=_authorities(tsa) if tsa else None)
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


def _chains(document: receipt.Receipt, urls: tuple[str, ...]) -> tuple[JsonRpcChain | None, list[JsonRpcChain]]:
    """The node of the receipt's own chain, or the first that is given, and the rest. Raises ChainUnreachableError."""
    chains = [JsonRpcChain(url) for url in urls]
    if (place := document.chain) is not None and len(chains) > 1:
        chains.sort(key=lambda chain: chain.chain_id() != place.chain_id)
    return (chains[0] if chains else None), chains[1:]


def _authorities(file: BinaryIO) -> "StampChecker":
    """Raises ValueError."""
    from mesh.timestamps import Authorities  # which loads a library that other receipts do without

    return Authorities.from_pem(file.read())
