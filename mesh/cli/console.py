"""What the commands say at the terminal."""

import os
import sys
from pathlib import Path

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)

console = Console(highlight=False)
errors = Console(stderr=True, highlight=False)


def at_terminal() -> bool:
    """True when a person looks on."""
    return sys.stdin.isatty() and sys.stdout.isatty()


def home() -> Path:
    """The state directory of the local mesh."""
    return Path(os.environ.get("VOKETAG_HOME", ".voketag"))


def rows_progress() -> Progress:
    """A bar that counts rows."""
    return _progress(MofNCompleteColumn())


def bytes_progress() -> Progress:
    """A bar that counts bytes."""
    return _progress(DownloadColumn())


def _progress(counter: ProgressColumn) -> Progress:
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        counter,
        TimeElapsedColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
