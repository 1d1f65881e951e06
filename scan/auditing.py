"""`python -m scan audit`: the ledger against its rows, tiles and checkpoints, as of one moment of the database."""

from argparse import ArgumentParser, Namespace
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from mesh import database
from mesh.auditor import conclude, keep, kept, verifiers
from mesh.cli.console import console, errors
from mesh.database import Connection, reached
from mesh.ledger import Ledger, Snapshot
from scan.config import AuditSettings
from scan.journal import Journal
from trust.alignment import Row
from trust.audit import Report, audit
from trust.checkpoint import Checkpoint
from trust.note import Verifier


def options(arguments: Sequence[str]) -> Namespace:
    """What was asked for: see `voketag audit-ledger`."""
    parser = ArgumentParser(prog="python -m scan audit")
    parser.add_argument("--key", action="append", default=[])
    parser.add_argument("--since", type=Path)
    parser.add_argument("--pruned", type=int, default=0)
    return parser.parse_args(arguments)


async def run(settings: AuditSettings, asked: Namespace) -> int:
    """Audits, and says what was found: the exit status. Raises AuditError and DependencyUnavailable."""
    ledger = Ledger(settings.ledger_origin)
    pool = await database.connect(settings, schema="scan")
    try:
        with reached():
            async with (
                pool.acquire() as connection,
                connection.transaction(isolation="repeatable_read", readonly=True),
            ):
                if not asked.key:
                    errors.print("[yellow]No --key: the database's own word is taken for the keys.[/]")
                known = verifiers(asked.key or await ledger.keys(connection))
                since = kept(asked.since, settings.ledger_origin)
                report = await _audit(connection, ledger, known, since=since, pruned=asked.pruned)
    finally:
        pool.terminate()
    keep(asked.since, report)
    return conclude(report, console)


async def _audit(
    connection: Connection, ledger: Ledger, known: Sequence[Verifier], *, since: Checkpoint | None, pruned: int
) -> Report:
    journal = Journal(ledger)
    size = (await ledger.standing(connection)).size

    def rows(first: int) -> AsyncIterator[Sequence[Row]]:
        return journal.pages(connection, first, size)

    return await audit(
        Snapshot(ledger, connection, rows), known, origin=ledger.origin, since=since, pruned=min(pruned, size)
    )
