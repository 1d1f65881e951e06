"""`python -m scan replay`: the journal of a span of time under other weights, read and nothing else."""

from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import orjson
from rich.table import Table

from mesh import database
from mesh.cli.console import console
from mesh.database import reached
from mesh.ledger import Ledger
from scan.config import AuditSettings
from scan.journal import Journal
from scan.replay import BAND, Shift, replay
from scan.risk import RiskError, Weights
from scan.verdict import Verdict


class ReplayError(Exception):
    """What was asked for cannot be replayed; the message says why."""


def options(arguments: Sequence[str]) -> Namespace:
    """What was asked for: see `voketag replay`."""
    parser = ArgumentParser(prog="python -m scan replay")
    parser.add_argument("--from", dest="since", type=_time, required=True)
    parser.add_argument("--to", dest="until", type=_time, required=True)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--factory", type=UUID)
    parser.add_argument("--json", action="store_true")
    return parser.parse_args(arguments)


async def run(settings: AuditSettings, asked: Namespace) -> int:
    """Replays, and says what moved: the exit status 0. Raises ReplayError and DependencyUnavailable."""
    if asked.since >= asked.until:
        raise ReplayError("--from must lie before --to")
    try:
        weights = Weights.from_json(asked.weights.read_bytes())
    except (OSError, RiskError) as error:
        raise ReplayError(f"{asked.weights}: {error}") from error
    journal = Journal(Ledger(settings.ledger_origin))
    pool = await database.connect(settings, schema="scan")
    try:
        with reached():
            async with (
                pool.acquire() as connection,
                connection.transaction(isolation="repeatable_read", readonly=True),
            ):
                history = journal.past(connection, asked.since, asked.until, factory_id=asked.factory)
                shift = await replay(history, weights)
    finally:
        pool.terminate()
    if asked.json:
        console.print(orjson.dumps(document(shift, weights)).decode(), soft_wrap=True, markup=False)
    else:
        show(shift, weights)
    return 0


def document(shift: Shift, weights: Weights) -> dict[str, Any]:
    """What moved, as JSON; bands of totals go by their lowest number."""
    moves = [
        {"before": before.name, "after": after.name, "scans": count}
        for (before, after), count in sorted(shift.moves.items(), key=lambda item: -item[1])
    ]
    return {
        "weightsVersion": weights.version,
        "scans": shift.scans,
        "unscored": shift.unscored,
        "unreadable": shift.unreadable,
        "verdictsMoved": shift.moved,
        "moves": moves,
        "totals": {
            "raised": shift.raised,
            "lowered": shift.lowered,
            "meanBefore": _mean(shift.sum_before, shift),
            "meanAfter": _mean(shift.sum_after, shift),
            "before": {str(band * BAND): shift.before[band] for band in sorted(shift.before)},
            "after": {str(band * BAND): shift.after[band] for band in sorted(shift.after)},
        },
    }


def show(shift: Shift, weights: Weights) -> None:
    """What moved, for people."""
    console.print(
        f"{shift.scans} scans, of which {shift.unscored} have no risk and {shift.unreadable} cannot be read; "
        f"under the weights {weights.version!r} {shift.moved} get another verdict.",
        soft_wrap=True,
    )
    before, after = shift.verdicts(after=False), shift.verdicts(after=True)
    verdicts = Table("verdict", "before", "after", "moved here", "moved away", box=None, padding=(0, 2, 0, 0))
    for verdict in Verdict:
        if before[verdict] or after[verdict]:
            stayed = shift.moves[verdict, verdict]
            counts = (before[verdict], after[verdict], after[verdict] - stayed, before[verdict] - stayed)
            verdicts.add_row(verdict.name, *map(str, counts))
    console.print(verdicts)
    totals = Table("total", "before", "after", box=None, padding=(0, 2, 0, 0))
    for band in sorted(shift.before | shift.after):
        totals.add_row(_band(band), str(shift.before[band]), str(shift.after[band]))
    totals.add_row("mean", str(_mean(shift.sum_before, shift)), str(_mean(shift.sum_after, shift)))
    console.print(totals)
    console.print(f"{shift.raised} totals rise, {shift.lowered} fall.")


def _band(band: int) -> str:
    low = band * BAND
    return str(low) if low >= 100 else f"{low}-{low + BAND - 1}"


def _mean(total: int, shift: Shift) -> float:
    return round(total / shift.judged, 2) if shift.judged else 0.0


def _time(text: str) -> datetime:
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise ArgumentTypeError(f"{text!r} is no time as ISO 8601 writes it") from error
    return found if found.tzinfo else found.replace(tzinfo=UTC)
