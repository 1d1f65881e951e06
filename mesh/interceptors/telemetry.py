"""Step: a trace id for the call, its duration and its outcome."""

import asyncio
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from types import TracebackType
from typing import Any

from opentelemetry import propagate, trace
from prometheus_client import Counter, Histogram

from mesh.identity import metadata_of
from mesh.interceptors.step import Context, Step
from mesh.policy import Policy
from mesh.telemetry import new_trace_id, set_traced

BUCKETS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
SECONDS = Histogram("voketag_call_seconds", "Duration of calls.", ["method"], buckets=BUCKETS)
CALLS = Counter("voketag_calls", "Calls by outcome: a google.rpc.Code number, or 1 for cancelled.", ["method", "code"])
TELL_SECONDS = 0.02


class Handlers:
    """The handlers that have not come to their end, those of cancelled calls included."""

    def __init__(self) -> None:
        self.running = 0
        self._ended = asyncio.Event()

    def left(self) -> None:
        """One has ended."""
        self.running -= 1
        if not self.running:
            self._ended.set()

    async def ended(self, within: float) -> None:
        """Returns when none runs, and after so many seconds in any case."""
        with suppress(TimeoutError):
            async with asyncio.timeout(within):
                while self.running:
                    self._ended.clear()
                    await self._ended.wait()


class _Outcomes:
    """Durations and outcomes of a method's calls.

    Prometheus is told of answered calls many at once, within TELL_SECONDS: each call would find that code cold.
    """

    def __init__(self, method: str) -> None:
        self._method = method
        self._seconds = SECONDS.labels(method)
        self._ok = CALLS.labels(method, "0")
        self._untold: list[float] = []
        self._due = False

    def answered(self, seconds: float) -> None:
        """A call has its answer."""
        self._untold.append(seconds)
        if not self._due:
            self._due = True
            asyncio.get_running_loop().call_later(TELL_SECONDS, self._tell)

    def failed(self, seconds: float, code: object) -> None:
        """A call has none; `code` is a number of google.rpc.Code."""
        self._seconds.observe(seconds)
        CALLS.labels(self._method, str(code)).inc()

    def _tell(self) -> None:
        untold, self._untold, self._due = self._untold, [], False
        for seconds in untold:
            self._seconds.observe(seconds)
        self._ok.inc(len(untold))


class _Call:
    """One call, from its trace id to its outcome. Written out and not generated: every call has one."""

    __slots__ = ("_context", "_handlers", "_outcomes", "_request", "_started", "_trace_id")

    def __init__(self, request: Any, context: Context, outcomes: _Outcomes, handlers: Handlers) -> None:
        self._request = request
        self._context = context
        self._outcomes = outcomes
        self._handlers = handlers
        self._trace_id = ""

    @property
    def trace_id(self) -> str:
        """See mesh.telemetry.Traced."""
        if not self._trace_id:
            self._trace_id = new_trace_id(metadata_of(self._context).get("traceparent"))
        return self._trace_id

    def __enter__(self) -> Any:
        set_traced(self)
        self._started = time.perf_counter()
        self._handlers.running += 1
        return self._request

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._handlers.left()
        seconds = time.perf_counter() - self._started
        if kind is None:
            self._outcomes.answered(seconds)
        else:
            cancelled = issubclass(kind, asyncio.CancelledError)
            self._outcomes.failed(seconds, 1 if cancelled else self._context.code() or 2)


class TelemetryStep(Step):
    """Names the call by its W3C trace id, times it and counts it; opens a span when traces are exported."""

    waits = False

    def __init__(self, policies: Mapping[str, Policy], *, tracing: bool) -> None:
        super().__init__(policies)
        self._tracer = trace.get_tracer("voketag") if tracing else None
        self.handlers = Handlers()
        self._outcomes = {method: _Outcomes(method) for method in policies}

    def around(self, policy: Policy, request: Any, context: Context) -> AbstractContextManager[Any]:
        """Counts by the status code that the errors step left on the context."""
        method = policy.method
        call = _Call(request, context, self._outcomes[method], self.handlers)
        return call if self._tracer is None else self._traced(self._tracer, method, call, context)

    @contextmanager
    def _traced(self, tracer: trace.Tracer, method: str, call: _Call, context: Context) -> Iterator[Any]:
        parent = propagate.extract(metadata_of(context))
        with tracer.start_as_current_span(method, parent, kind=trace.SpanKind.SERVER):
            with call as request:
                yield request
