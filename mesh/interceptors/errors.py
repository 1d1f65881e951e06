"""Step: every error leaves as google.rpc.Status with exactly one ErrorInfo."""

import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NoReturn

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


async def abort(context: Context, error: VokeTagError) -> NoReturn:
    """Ends the call with the error; always raises grpc.aio.AbortError."""
    status = to_status(error)
    trailing: list[tuple[str, str | bytes]] = [(STATUS_KEY, status.SerializeToString())]
    if error.retry_after is not None:
        trailing.append(("retry-after", str(math.ceil(error.retry_after))))
    await context.abort(CODES[error.code], status.message, tuple(trailing))
    raise AssertionError("abort returned")


class ErrorsStep(Step):
    """Turns typed errors into statuses; the unexpected is logged whole and leaves as INTERNAL with a fixed phrase.

    Cancellation and statuses that are set already pass.
    """

    @asynccontextmanager
    async def around(self, policy: Policy, request: Any, context: Context) -> AsyncIterator[Any]:
        """See the class."""
        try:
            yield request
        except Exception as error:  # noqa: BLE001 - every error
            await _leave(error, context, policy.method)

    def wrap(self, policy: Policy, inner: Any) -> Any:
        """As every step's, but for calls of one response without a context manager: those pay for errors only."""
        if policy.response_streaming:
            return super().wrap(policy, inner)

        async def call(request: Any, context: Context) -> Any:
            try:
                return await inner(request, context)
            except Exception as error:  # noqa: BLE001 - every error
                await _leave(error, context, policy.method)

        return call


async def _leave(error: Exception, context: Context, method: str) -> NoReturn:
    if isinstance(error, AbortError):
        raise error
    if not isinstance(error, VokeTagError):
        log.error("call failed", method=method, exc_info=error)
        error = Internal(trace_id=trace_id())
    await abort(context, error)
