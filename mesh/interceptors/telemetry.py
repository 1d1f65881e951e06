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


class Handlers:
    """The handlers that have not come to their end, those of cancelled calls included."""

    def __init__(self) -> None:
        self.running = 0
        self._ended = asyncio.Event()

    def left(self) -> None:
        """One has ended."""
        self.running -= 1
        self._ended.set()

    async def ended(self, within: float) -> None:
        """Returns when none runs, and after so many seconds in any case."""
        with suppress(TimeoutError):
            async with asyncio.timeout(within):
                while self.running:
                    self._ended.clear()
                    await self._ended.wait()


class _Call:
    """One call, from its trace id to its outcome. Written out and not generated: every call has one."""

    __slots__ = ("_answered", "_context", "_handlers", "_method", "_request", "_seconds", "_started", "_trace_id")

    def __init__(self, request: Any, context: Context, method: str, step: "TelemetryStep") -> None:
        self._request = request
        self._context = context
        self._method = method
        self._handlers = step.handlers
        self._answered = step.answered[method]
        self._seconds = step.seconds[method]
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
        self._seconds.observe(time.perf_counter() - self._started)
        if kind is None:
            self._answered.inc()
        else:
            cancelled = issubclass(kind, asyncio.CancelledError)
            CALLS.labels(self._method, "1" if cancelled else str(self._context.code() or 2)).inc()


class TelemetryStep(Step):
    """Names the call by its W3C trace id, times it and counts it; opens a span when traces are exported."""

    waits = False

    def __init__(self, policies: Mapping[str, Policy], *, tracing: bool) -> None:
        super().__init__(policies)
        self._tracer = trace.get_tracer("voketag") if tracing else None
        self.handlers = Handlers()
        self.seconds = {method: SECONDS.labels(method) for method in policies}
        self.answered = {method: CALLS.labels(method, "0") for method in policies}

    def around(self, policy: Policy, request: Any, context: Context) -> AbstractContextManager[Any]:
        """Counts by the status code that the errors step left on the context."""
        method = policy.method
        call = _Call(request, context, method, self)
        return call if self._tracer is None else self._traced(self._tracer, method, call, context)

    @contextmanager
    def _traced(self, tracer: trace.Tracer, method: str, call: _Call, context: Context) -> Iterator[Any]:
        parent = propagate.extract(metadata_of(context))
        with tracer.start_as_current_span(method, parent, kind=trace.SpanKind.SERVER):
            with call as request:
                yield request
