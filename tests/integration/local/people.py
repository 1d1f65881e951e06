"""Runs a piece of a test as another person: a process of its own that gives up root after its imports."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]


def environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'gen'}"}


def run(script: Path, *arguments: object) -> subprocess.Popen[str]:
    """Starts a script of this folder; its output can be read line by line."""
    command = [sys.executable, str(script), *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment(), start_new_session=True)
