"""Crashes and freezes of servers that are more than one process."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mesh.local.server import Server


async def crash(server: Server) -> None:
    """kill -9 of a server and all its processes: PostgreSQL's backends would end their transactions in peace."""
    _signal(server, signal.SIGKILL)
    await server.child.wait()


@contextmanager
def frozen(server: Server) -> Iterator[None]:
    """A server that hangs: connections stand, and nothing comes of them."""
    _signal(server, signal.SIGSTOP)
    try:
        yield
    finally:
        _signal(server, signal.SIGCONT)


def _signal(server: Server, number: signal.Signals) -> None:
    pid = server.child.pid
    assert pid is not None
    descendants = _descendants(pid)
    os.kill(pid, number)
    for process in descendants:
        with suppress(ProcessLookupError):  # one that ended by itself meanwhile
            os.kill(process, number)


def _descendants(pid: int) -> list[int]:
    found: list[int] = []
    with suppress(FileNotFoundError, ProcessLookupError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in map(int, (task / "children").read_text().split()):
                found += [child, *_descendants(child)]
    return found
