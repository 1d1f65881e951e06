"""`python -m admin audit`: the audit log against its tiles and checkpoints and the services' rows, as of one moment."""

from argparse import ArgumentParser, Namespace
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import structlog

from admin.audit import entry_of
from admin.collector import ABSENT, SOURCES
from admin.config import AuditSettings
from admin.store import Store
from mesh import database
from mesh.auditor import FOUND, NOT_AUDITED, AuditError, conclude, keep, kept, verifiers
from mesh.cli.console import console, errors
from mesh.database import Connection, reached
from mesh.errors import DependencyUnavailable
from mesh.ledger import Ledger, Snapshot
from trust.audit import Report, audit
from trust.auditlog import LogRow
from trust.checkpoint import Checkpoint
from trust.note import Verifier

log = structlog.get_logger()
PAGE = 1000
NOTHING = bytes(32)
SAYS = {
    "missing": "the service has no row of what was logged",
    "inserted": "the service's row was never logged",
    "edited": "the service's row is not what was logged",
}


@dataclass(frozen=True, slots=True)
class Difference:
    """A service's row that is not what was taken from it: `missing`, `inserted`, which has no number, or `edited`."""

    source: str
    number: int | None
    audit_id: UUID
    what: str

    def __str__(self) -> str:
        place = "" if self.number is None else f" (entry {self.number})"
        return f"ROW_{self.what.upper()} {self.source} {self.audit_id}{place}: {SAYS[self.what]}"


def options(arguments: Sequence[str]) -> Namespace:
    """What was asked for: see `voketag audit-log verify`."""
    parser = ArgumentParser(prog="python -m admin audit")
    parser.add_argument("--key", action="append", default=[])
    parser.add_argument("--since", type=Path)
    parser.add_argument("--log-only", action="store_true")
    return parser.parse_args(arguments)


async def look(settings: AuditSettings, arguments: Sequence[str]) -> int:
    """Audits as it is asked to: the exit status."""
    asked = options(arguments)
    try:
        return await run(settings, asked)
    except (AuditError, DependencyUnavailable) as error:
        errors.print(str(error), soft_wrap=True, markup=False)
    except Exception:
        log.exception("the audit log cannot be read")  # an uncaught one would end with the status of findings
    return NOT_AUDITED


async def run(settings: AuditSettings, asked: Namespace) -> int:
    """Audits, and says what was found: the exit status. Raises AuditError and DependencyUnavailable."""
    ledger = Ledger(settings.audit_origin)
    pool = await database.connect(settings, schema="admin")
    sources = () if asked.log_only else SOURCES
    try:
        with reached():
            async with pool.acquire() as connection:
                # First, each for itself: the log takes rows on, and a transaction that failed could not go on.
                differences = [each for source in sources for each in await compare(connection, source)]
                async with connection.transaction(isolation="repeatable_read", readonly=True):
                    if not asked.key:
                        errors.print("[yellow]No --key: the database's own word is taken for the keys.[/]")
                    known = verifiers(asked.key or await ledger.keys(connection))
                    since = kept(asked.since, settings.audit_origin)
                    report = await _audit(connection, ledger, known, since=since)
    finally:
        pool.terminate()
    for difference in differences:
        console.print(str(difference), soft_wrap=True, markup=False, highlight=False)
    if not differences:
        keep(asked.since, report)
    status = conclude(report, console)
    return FOUND if differences else status


async def compare(connection: Connection, source: str) -> list[Difference]:
    """The rows of a service that are not what was taken; of one that has no schema there are none."""
    queries: Any = Store.queries()
    try:
        rows = queries.audit_differences(connection, source=source)
        return [Difference(source, row["number"], row["audit_id"], row["what"]) async for row in rows]
    except ABSENT as error:
        errors.print(f"[yellow]The rows of {source} were not looked at: {error}[/]")
        return []


async def _audit(
    connection: Connection, ledger: Ledger, known: Sequence[Verifier], *, since: Checkpoint | None
) -> Report:
    queries: Any = Store.queries()

    async def rows(first: int) -> AsyncIterator[Sequence[LogRow]]:
        while True:
            found = queries.audit_pages(connection, first=first, most=PAGE)
            page = [LogRow(row["number"], NOTHING, entry_of(row)) async for row in found]
            yield page
            if len(page) < PAGE:
                return
            first = page[-1].number + 1

    return await audit(Snapshot(ledger, connection, rows), known, origin=ledger.origin, since=since)
