"""`voketag verify`: checks a receipt, or the proof that a scan was logged, without asking VokeTag."""

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, BinaryIO
from uuid import UUID

import click

from mesh.auditor import AuditError, verifiers
from mesh.cli.console import console, errors
from trust import logproof, receipt
from trust.checkpoint import CheckpointMalformedError
from trust.ledger import NOT_SCORED, EntryMalformedError, Event, read_entry
from trust.note import NoteMalformedError
from trust.rpc import ChainUnreachableError, JsonRpcChain

if TYPE_CHECKING:
    from trust.stamp import StampChecker

MARKS = {"PASSED": "[green]✓[/]", "FAILED": "[red]✗[/]", "NOT_CHECKED": "[yellow]–[/]"}
VALID, INVALID, UNREADABLE, PENDING = 0, 1, 2, 3
UNREADABLE_PROOF = (
    AuditError,
    logproof.LogProofMalformedError,
    NoteMalformedError,
    CheckpointMalformedError,
    EntryMalformedError,
)


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
@click.option(
    "--key",
    "keys",
    metavar="KEY",
    multiple=True,
    help="A public key of the log, for the proof that a scan was logged. Several if the log has changed its key.",
)
def verify(file: BinaryIO, rpc: tuple[str, ...], tsa: BinaryIO | None, keys: tuple[str, ...]) -> None:
    """Check a receipt: product, batch root, anchored root, with --rpc the blocks on chains, with --tsa time stamps.

    Or the proof that a scan was logged (C2SP tlog-proof), with --key: that the log has signed a tree with its entry.

    Exit status: 0 valid, 1 refused, 2 not a receipt or proof, no key, or the chain cannot be asked, 3 not anchored yet.
    """
    data = file.read()
    raise SystemExit(_logged(data, keys) if data.startswith(logproof.HEADER.encode()) else _anchored(data, rpc, tsa))


def _anchored(data: bytes, rpc: tuple[str, ...], tsa: BinaryIO | None) -> int:
    try:
        document = receipt.Receipt.from_json(data)
        chain, others = _chains(document, rpc)
        result = receipt.verify(document, chain, others=others, stamps=_authorities(tsa) if tsa else None)
    except (receipt.ReceiptMalformedError, ChainUnreachableError, ValueError) as error:
        errors.print(f"[red]{error}[/]")
        return UNREADABLE
    for step in result.steps:
        console.print(f"{MARKS[step.outcome.name]} {step.name}: {step.detail}", soft_wrap=True)
    if result.pending:
        console.print("[yellow]Not anchored yet: fetch the receipt again later.[/]")
        return PENDING
    console.print("[green]The receipt is valid.[/]" if result.valid else "[red]The receipt is refused.[/]")
    return VALID if result.valid else INVALID


def _logged(data: bytes, keys: tuple[str, ...]) -> int:
    try:
        known, proof = verifiers(keys), logproof.LogProof.parse(data)
        checkpoint = logproof.verify(proof, known, known[0].name)
        scan = _scan(read_entry(proof.entry)[1])
    except UNREADABLE_PROOF as error:
        errors.print(f"[red]{error}[/]", soft_wrap=True)
        return UNREADABLE
    except (ValueError, OverflowError) as error:
        console.print(f"[red]✗ The proof is refused: {error}[/]", soft_wrap=True)
        return INVALID
    place = f"entry {proof.index} of {checkpoint.size} that {checkpoint.origin} has signed"
    console.print(f"[green]✓[/] {place}: {scan}", soft_wrap=True)
    return VALID


def _scan(event: Event) -> str:
    time = datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=event.time_ms)
    what = f"scan {UUID(bytes=event.event_id)} of product {UUID(bytes=event.product_id)}"
    risk = "not worked out" if event.risk_total == NOT_SCORED else event.risk_total
    return f"{what} at {time.isoformat(timespec='milliseconds')}, verdict {event.verdict}, risk {risk}"


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
