"""Step: every error leaves as google.rpc.Status with exactly one ErrorInfo."""

import math
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Any

import grpc
import structlog
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from grpc.aio import AbortError

from mesh.error import VokeTagError
from mesh.errors import Internal
from mesh.interceptors.step import Context, Step
from mesh.policy import Policy
from mesh.telemetry import trace_id

DOMAIN = "voketag.com"
STATUS_KEY = "grpc-status-details-bin"
CODES: dict[int, grpc.StatusCode] = {code.value[0]: code for code in grpc.StatusCode}

log = structlog.get_logger()


def to_status(error: VokeTagError) -> status_pb2.Status:
    """The error as it goes over the wire (google.rpc.Status, AIP-193)."""
    details: list[Message] = [error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=error.metadata)]
    if error.violations:
        violations = [
            error_details_pb2.BadRequest.FieldViolation(field=v.field, reason=v.rule, description=v.description)
            for v in error.violations
        ]
        details.append(error_details_pb2.BadRequest(field_violations=violations))
    if error.retry_after is not None:
        nanos = math.ceil(error.retry_after * 1e9)
        delay = Duration(seconds=nanos // 10**9, nanos=nanos % 10**9)
        details.append(error_details_pb2.RetryInfo(retry_delay=delay))
    if error.resource_type:
        name = next(iter(error.metadata.values()), "")
        details.append(error_details_pb2.ResourceInfo(resource_type=error.resource_type, resource_name=name))
    packed = []
    for detail in details:
        packed.append(AnyMessage())
        packed[-1].Pack(detail)
    return status_pb2.Status(code=error.code, message=error.message, details=packed)


async def abort(context: Context, error: VokeTagError) -> None:
    """Ends the call with the error; always raises grpc.aio.AbortError."""
    status = to_status(error)
    trailing: list[tuple[str, str | bytes]] = [(STATUS_KEY, status.SerializeToString())]
    if error.retry_after is not None:
        trailing.append(("retry-after", str(math.ceil(error.retry_after))))
    await context.abort(CODES[error.code], status.message, tuple(trailing))


class _Guard:
    """Lets cancellation and statuses already set pass, and turns every other error into a status."""

    __slots__ = ("_context", "_method", "_request")

    def __init__(self, request: Any, context: Context, method: str) -> None:
        self._request = request
        self._context = context
        self._method = method

    async def __aenter__(self) -> Any:
        return self._request

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, VokeTagError):
            await abort(self._context, error)
        elif isinstance(error, Exception) and not isinstance(error, AbortError):
            log.error("call failed", method=self._method, exc_info=error)
            await abort(self._context, Internal(trace_id=trace_id()))


class ErrorsStep(Step):
    """Turns typed errors into statuses; the unexpected is logged whole and leaves as INTERNAL with a fixed phrase."""

    def around(self, policy: Policy, request: Any, context: Context) -> AbstractAsyncContextManager[Any]:
        """See the class."""
        return _Guard(request, context, policy.method)
