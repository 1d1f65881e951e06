"""What an auditor of the ledger keeps from one audit to the next, and says at its end."""

import os
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from trust.audit import Finding, Report
from trust.checkpoint import Checkpoint, CheckpointError
from trust.note import KeyMalformedError, Verifier

CLEAN, FOUND, NOT_AUDITED = 0, 1, 2
SHOWN = 1000


class AuditError(Exception):
    """The audit cannot begin or go on; the message says why."""


def verifiers(keys: Sequence[str]) -> list[Verifier]:
    """The public keys, all of one log. Raises AuditError."""
    try:
        read = [Verifier.from_text(key) for key in keys]
    except KeyMalformedError as error:
        raise AuditError(f"a key cannot be read: {error}") from error
    if len({verifier.name for verifier in read}) != 1:
        raise AuditError("there is no key, or keys of several logs")
    return read


def kept(path: Path | None, origin: str) -> Checkpoint | None:
    """The checkpoint that the last audit ended with; None if there was none. Raises AuditError."""
    if path is None or not path.exists():
        return None
    try:
        checkpoint = Checkpoint.parse(path.read_text())
    except (CheckpointError, OSError, UnicodeDecodeError) as error:
        raise AuditError(f"{path} is not what an audit keeps: {error}") from error
    if checkpoint.origin != origin:
        raise AuditError(f"{path} is of the log {checkpoint.origin!r}, not of {origin!r}")
    return checkpoint


def keep(path: Path | None, report: Report) -> None:
    """Keep where a clean audit ended, whole or not at all. Raises AuditError."""
    if path is None or not report.clean or report.latest is None:
        return
    new = path.with_name(path.name + ".new")
    try:
        new.write_text(report.latest.text())
        os.replace(new, path)
    except OSError as error:
        raise AuditError(f"{path} cannot be written: {error}") from error


def conclude(report: Report, console: Console) -> int:
    """Say what was found, a line each with its place, and what was covered; the exit status."""
    for finding in report.findings[:SHOWN]:
        console.print(line(finding), soft_wrap=True, markup=False)
    signed = report.latest.size if report.latest else 0
    console.print(
        f"{report.size} entries, {report.rows} rows in their places from {report.first} on, "
        f"{report.checkpoints} checkpoints read, signed for {signed}",
        soft_wrap=True,
    )
    if report.clean:
        console.print("The ledger is clean.")
        return CLEAN
    if report.complete:
        console.print(f"{len(report.findings)} findings.")
    else:
        console.print(f"The audit gave up after {len(report.findings)} findings: there may be more.")
    return FOUND if report.findings else NOT_AUDITED


def line(finding: Finding) -> str:
    """A finding as it is printed: what, where, which event, why."""
    place = f"{finding.first}" if finding.first == finding.last else f"{finding.first}-{finding.last}"
    where = f"level {finding.level} tile {place}" if finding.kind.name == "TILE_WRONG" else place
    event = f" (event {finding.event_id.hex()})" if finding.event_id else ""
    return f"{finding.kind.name} {where}{event}: {finding.detail}"
