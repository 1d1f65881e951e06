"""Beats on time: uvloop's timers have steps of a millisecond, which a caller on a schedule would be late by."""

import asyncio
import ctypes
import os
import time
from types import TracebackType

LIBC = ctypes.CDLL(None, use_errno=True)
SECOND = 1_000_000_000


class Metronome:
    """`await beat()` returns at the next multiple of the period since it was entered, some 0.1 ms after it.

    It is a timerfd (timerfd_create(2)), which wakes the loop as a connection does. Raises OSError without one.
    """

    def __init__(self, period_seconds: float) -> None:
        self._period = int(period_seconds * SECOND)

    def __enter__(self) -> "Metronome":
        self._timer = LIBC.timerfd_create(time.CLOCK_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC)
        once_and_again = (ctypes.c_long * 4)(*divmod(self._period, SECOND) * 2)
        if self._timer < 0 or LIBC.timerfd_settime(self._timer, 0, once_and_again, None):
            raise OSError(ctypes.get_errno(), "no timer")
        self._beaten = asyncio.Event()
        asyncio.get_running_loop().add_reader(self._timer, self._beat)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.get_running_loop().remove_reader(self._timer)
        os.close(self._timer)

    def _beat(self) -> None:
        os.read(self._timer, 8)
        self._beaten.set()

    async def beat(self) -> None:
        await self._beaten.wait()
        self._beaten.clear()
