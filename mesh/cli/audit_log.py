"""`voketag audit-log`: who changed what, taken out and checked."""

import asyncio
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import grpc

from mesh.auditor import NOT_AUDITED, AuditError, conclude, keep, kept, verifiers
from mesh.cli.connection import edge, explain
from mesh.cli.console import console, errors
from mesh.cli.people import local_settings
from mesh.cli.processes import become
from mesh.client import channel
from trust.audit import audit
from trust.checkpoint import Checkpoint, CheckpointError, open_checkpoint
from trust.exported import Export, ExportMalformedError
from trust.note import NoteError, Verifier

if TYPE_CHECKING:
    from voketag.admin.v1.audit_pb2_grpc import AuditServiceAsyncStub

EXISTING = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.group("audit-log")
def audit_log() -> None:
    """The log of every change: export it, verify it."""


@audit_log.command()
@click.argument("export", required=False, type=EXISTING)
@click.option("--key", "keys", multiple=True, help="A public key of the log, got from where nobody can change it.")
@click.option("--checkpoint", type=EXISTING, help="A signed checkpoint that the export has to contain.")
@click.option("--since", type=click.Path(path_type=Path), help="What the last verification kept.")
@click.option("--log-only", is_flag=True, help="From the database: leave the services' own rows alone.")
def verify(
    export: Path | None, keys: tuple[str, ...], checkpoint: Path | None, since: Path | None, *, log_only: bool
) -> None:
    """Find whatever was edited, deleted, reordered or inserted in the audit log, and any fork.

    EXPORT is a file of `voketag audit-log export`; no server is asked. Without it the database is read, that of
    VOKETAG_DATABASE_URL or the local mesh's: the log, its tiles and checkpoints, and the rows that it was made of.

    Exit status: 0 clean, 1 something was found, 2 it could not be verified.
    """
    if export is None:
        if checkpoint:
            raise click.UsageError("--checkpoint goes with an export; the database has its checkpoints")
        if "VOKETAG_DATABASE_URL" not in os.environ:
            os.environ.update(local_settings())
        options = [part for key in keys for part in ("--key", key)] + (["--since", str(since)] if since else [])
        become("admin", "audit", *options, *(["--log-only"] if log_only else []))
        return
    try:
        note = checkpoint.read_bytes() if checkpoint else None
        status = asyncio.run(_outside(Export(export), verifiers(keys), note, since))
    except (AuditError, ExportMalformedError, CheckpointError, NoteError, OSError) as error:
        errors.print(f"[red]{error}[/]")
        status = NOT_AUDITED
    raise SystemExit(status)


async def _outside(export: Export, known: list[Verifier], note: bytes | None, since: Path | None) -> int:
    origin = known[0].name
    trusted = [open_checkpoint(note, known, origin)] if note else list[Checkpoint]()
    last = kept(since, origin)
    report = await audit(export, known, origin=origin, kept=[*trusted, *([last] if last else [])])
    keep(since, report)
    return conclude(report, console)


@audit_log.command("export")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--target", help="host:port of the edge; else the local mesh's.")
@click.option("--token-file", type=EXISTING, required=True, help="An access token of an admin or auditor.")
def export_(file: Path, target: str | None, token_file: Path) -> None:
    """Write the whole log to FILE, as JSON Lines with its checkpoints."""
    try:
        count = asyncio.run(_export(file, edge(target), token_file.read_text().strip()))
    except grpc.aio.AioRpcError as error:
        raise explain(error) from error
    console.print(f"{count} lines in {file}.", soft_wrap=True)


async def _export(file: Path, target: str, token: str) -> int:
    from voketag.admin.v1 import audit_pb2, audit_pb2_grpc

    count = 0
    async with channel(target, header=("authorization", lambda: f"Bearer {token}")) as connection:
        untyped: Any = audit_pb2_grpc.AuditServiceStub(connection)
        stub: AuditServiceAsyncStub = untyped
        with file.open("wb") as out:
            async for piece in stub.ExportEntries(audit_pb2.ExportEntriesRequest()):
                out.write(piece.lines)
                count += piece.lines.count(b"\n")
    return count
