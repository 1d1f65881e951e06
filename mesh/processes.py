"""As many processes as a service is told to be, each of which lives long: spawned, never forked, sharing the port."""

import asyncio
import ctypes
import gc
import multiprocessing
import multiprocessing.connection
import signal
import sys
from collections.abc import Callable, Coroutine
from types import FrameType
from typing import Any

import structlog
import uvloop

from mesh.error import VokeTagError

log = structlog.get_logger()

Target = Callable[[int], Coroutine[Any, Any, None]]
"""What one process does, given its number from 0. Must be importable by name, for spawn."""

PR_SET_PDEATHSIG = 1


def run_one(target: Target, index: int) -> int:
    """Runs the target on uvloop in this process: the exit status, 1 after an error that it names."""
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(target(index))
    except (VokeTagError, OSError) as error:
        log.error("cannot go on", error=str(error))
        return 1
    return 0


def spare_collector() -> None:
    """What is there at start stays for good: the collector looks at it no more, and less often at what work leaves."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


def _child(target: Target, index: int) -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    sys.exit(run_one(target, index))


def run(count: int, target: Target) -> None:
    """Runs `count` processes until a signal comes or one ends, then stops the rest. Exits with the worst status."""
    if count == 1:
        sys.exit(run_one(target, 0))
    context = multiprocessing.get_context("spawn")
    children = [context.Process(target=_child, args=(target, index)) for index in range(count)]
    for child in children:
        child.start()

    stopping = False

    def stop(_number: int, _frame: FrameType | None) -> None:
        nonlocal stopping
        if not stopping:  # a second SIGTERM would kill a child that is already on its way out
            stopping = True
            for child in children:
                child.terminate()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    multiprocessing.connection.wait([child.sentinel for child in children])
    first_ended_by_itself = not stopping
    stop(signal.SIGTERM, None)
    for child in children:
        child.join()
    statuses = [abs(child.exitcode or 0) for child in children]
    sys.exit(max(1, *statuses) if first_ended_by_itself else max(statuses))
