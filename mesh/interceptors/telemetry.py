"""Step: a trace id for the call, its duration and its outcome."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from opentelemetry import propagate, trace
from prometheus_client import Counter, Histogram

from mesh.interceptors.step import Context, Step
from mesh.policy import Policy
from mesh.telemetry import new_trace_id, trace_id

BUCKETS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
SECONDS = Histogram("voketag_call_seconds", "Duration of calls.", ["method"], buckets=BUCKETS)
CALLS = Counter("voketag_calls", "Calls by outcome: a google.rpc.Code number, or 1 for cancelled.", ["method", "code"])


class TelemetryStep(Step):
    """Names the call by its W3C trace id, times it and counts it; opens a span when traces are exported."""

    def __init__(self, policies: Mapping[str, Policy], *, tracing: bool) -> None:
        super().__init__(policies)
        self._tracer = trace.get_tracer("voketag") if tracing else None
        self._seconds = {method: SECONDS.labels(method) for method in policies}
        self._answered = {method: CALLS.labels(method, "0") for method in policies}

    @asynccontextmanager
    async def around(self, policy: Policy, request: Any, context: Context) -> AsyncIterator[Any]:
        """Counts by the status code that the errors step left on the context."""
        metadata = dict(context.invocation_metadata() or ())
        trace_id.set(new_trace_id(metadata.get("traceparent")))  # type: ignore[arg-type]
        started = time.perf_counter()
        try:
            if self._tracer is None:
                yield request
            else:
                parent = propagate.extract(metadata)
                with self._tracer.start_as_current_span(policy.method, parent, kind=trace.SpanKind.SERVER):
                    yield request
        except asyncio.CancelledError:
            CALLS.labels(policy.method, "1").inc()
            raise
        except BaseException:
            CALLS.labels(policy.method, str(context.code() or 2)).inc()
            raise
        else:
            self._answered[policy.method].inc()
        finally:
            self._seconds[policy.method].observe(time.perf_counter() - started)
