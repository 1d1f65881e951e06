"""Step: calls end before their caller stops listening, so that the inner step can still say what it waited for."""

import asyncio
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from types import TracebackType
from typing import Any

from mesh.errors import DeadlineExceeded
from mesh.interceptors.step import Context, Step
from mesh.policy import Policy

SHAVE = 0.02
TICK = 0.02


class _Limit:
    """Cancels the task that made it when its time is over, as asyncio.timeout does, and raises DeadlineExceeded."""

    __slots__ = ("_due", "_expired", "_request", "_task")

    def __init__(self, request: Any, due: "set[_Limit]") -> None:
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        self._request = request
        self._due = due
        self._expired = False
        due.add(self)

    def expire(self) -> None:
        """Its time is over. A task that somebody cancels already is theirs."""
        self._expired = not self._task.cancelling()
        self._task.cancel()

    def __enter__(self) -> Any:
        return self._request

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._due.discard(self)
        if self._expired and not self._task.uncancel() and kind is asyncio.CancelledError:
            raise DeadlineExceeded from None


class DeadlineStep(Step):
    """Gives the handler the caller's deadline less 20 to 40 ms; a unary call without one gets the default.

    Calls that are due within the same 20 ms share one timer of the loop: a timer each costs more than all else here.
    """

    waits = False

    def __init__(self, policies: Mapping[str, Policy], *, default_seconds: float) -> None:
        super().__init__(policies)
        self._default = default_seconds
        self._due: dict[int, set[_Limit]] = {}

    def around(self, policy: Policy, request: Any, context: Context) -> AbstractContextManager[Any]:
        """Raises DeadlineExceeded."""
        remaining = context.time_remaining()
        if remaining is None:
            if policy.request_streaming or policy.response_streaming:
                return nullcontext(request)
            remaining = self._default
        return _Limit(request, self._due_in(max(remaining - SHAVE, 0)))

    def _due_in(self, seconds: float) -> set[_Limit]:
        loop = asyncio.get_running_loop()
        tick = int((loop.time() + seconds) / TICK)
        due = self._due.get(tick)
        if due is None:
            due = self._due[tick] = set()
            loop.call_at(tick * TICK, self._expire, tick)
        return due

    def _expire(self, tick: int) -> None:
        for limit in self._due.pop(tick):
            limit.expire()
