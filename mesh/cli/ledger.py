"""`voketag audit-ledger`: the ledger of scans, by its operators and by strangers."""

import asyncio
from pathlib import Path

import click

from mesh.auditor import NOT_AUDITED, AuditError, conclude, keep, kept, verifiers
from mesh.cli.console import console, errors
from mesh.cli.processes import become
from trust.audit import audit
from trust.remote import LogUnreachableError, RemoteLog

PREFIX = "/api/ledger"


@click.command("audit-ledger")
@click.option("--url", help="The edge of the log, for an audit from outside; without it the database is read.")
@click.option("--key", "keys", multiple=True, help="A public key of the log; without any, what the log says of itself.")
@click.option("--since", type=click.Path(path_type=Path), help="What the last audit kept; look at what is newer.")
@click.option("--pruned", type=click.IntRange(0), default=0, help="Retention dropped the rows of entries below this.")
def audit_ledger(url: str | None, keys: tuple[str, ...], since: Path | None, pruned: int) -> None:
    """Find whatever was edited, deleted, reordered or inserted in the ledger of scans, and any fork.

    From the database: rows, tiles and checkpoints, with the settings of `python -m scan`. From outside: the checkpoint,
    the tiles, and that they contain what was kept. After a clean audit --since holds where the next one begins.

    Exit status: 0 clean, 1 something was found, 2 it could not be audited.
    """
    if url is None:
        options = [part for key in keys for part in ("--key", key)]
        options += ["--since", str(since)] if since else []
        become("scan", "audit", *options, "--pruned", str(pruned))
    try:
        status = asyncio.run(_outside(str(url), keys, since))
    except (AuditError, LogUnreachableError, ValueError) as error:
        errors.print(f"[red]{error}[/]")
        status = NOT_AUDITED
    raise SystemExit(status)


async def _outside(url: str, keys: tuple[str, ...], since: Path | None) -> int:
    log = RemoteLog(url.rstrip("/") + PREFIX)
    if not keys:
        errors.print("[yellow]No --key: the log's own word is taken for its key.[/]")
    known = verifiers(keys or await log.keys())
    origin = known[0].name
    size = await log.size()
    report = await audit(log, known, origin=origin, since=kept(since, origin), pruned=size)
    keep(since, report)
    return conclude(report, console)
