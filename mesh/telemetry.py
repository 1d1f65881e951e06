"""Logs, metrics and traces: JSON lines with trace ids, Prometheus, and OpenTelemetry where an endpoint is set."""

import logging
import sys
from collections.abc import MutableMapping
from contextvars import ContextVar
from random import Random
from typing import Any, Protocol

import structlog
from prometheus_client import Counter, start_http_server

from mesh.config import LogSettings


class Traced(Protocol):
    """A call."""

    @property
    def trace_id(self) -> str:
        """32 hex digits (W3C Trace Context)."""
        ...


_call: ContextVar[Traced | None] = ContextVar("traced_call", default=None)


def trace_id() -> str:
    """Trace id of the call under way, empty outside of calls. Worked out when asked for: few calls say anything."""
    call = _call.get()
    return call.trace_id if call is not None else ""


def set_traced(call: Traced) -> None:
    """Says which call is under way; for the telemetry interceptor."""
    _call.set(call)


_trace_ids = Random()  # noqa: S311 - they tell calls apart and keep no secret; seeded by the system


def new_trace_id(traceparent: str | None) -> str:
    """The trace id of a W3C `traceparent`, or a new one when there is none."""
    if traceparent and len(traceparent) >= 55 and traceparent[2] == "-" == traceparent[35]:
        return traceparent[3:35]
    return f"{_trace_ids.getrandbits(128):032x}"


def from_zero(counter: Counter, *values: str) -> Counter:
    """The counter, at 0 for values of its label: of one that begins at 1 Prometheus sees no increase."""
    for value in values:
        counter.labels(value)
    return counter


def _add_trace_id(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    if current := trace_id():
        event["trace_id"] = current
    return event


def configure_logs(settings: LogSettings, service: str) -> None:
    """Sends every log line, of libraries too, to stderr as one JSON object a line."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
        _add_trace_id,
    ]
    renderers: list[Any] = [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    level = logging.getLevelName(settings.log_level.upper())
    structlog.configure(
        processors=[*shared, *renderers],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderers],
        )
    )
    logging.basicConfig(level=max(level, logging.WARNING), handlers=[handler], force=True)
    structlog.contextvars.bind_contextvars(service=service)


def configure_traces(settings: LogSettings, service: str) -> None:
    """Exports spans to the collector when one is set; otherwise spans cost nothing."""
    if settings.otlp_endpoint is None:
        return
    from opentelemetry import trace
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider(resource=Resource.create({"service.name": f"voketag-{service}"}))
    exporter = OTLPSpanExporter(endpoint=settings.otlp_endpoint, insecure=settings.otlp_endpoint.startswith("http://"))
    provider.add_span_processor(BatchSpanProcessor(exporter))
    trace.set_tracer_provider(provider)


def configure(settings: LogSettings, service: str) -> None:
    """Sets up logs and traces of this process."""
    configure_logs(settings, service)
    configure_traces(settings, service)


def serve_metrics(host: str, port: int) -> None:
    """Answers `GET /metrics` on its own thread; port 0 serves none."""
    if port:
        start_http_server(port, addr=host)
