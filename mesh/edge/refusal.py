"""Errors that Envoy itself answers, in the contract's shape."""

from base64 import b64encode
from dataclasses import dataclass
from typing import Any

from google.protobuf import any_pb2, duration_pb2
from google.rpc import error_details_pb2, status_pb2

DOMAIN = "voketag.com"
ENVOYS_TEXT = "%LOCAL_REPLY_BODY%"


@dataclass(frozen=True, slots=True)
class Refusal:
    """An error that Envoy itself answers with HTTP `status`.

    `code` is its gRPC code, `native` the one for gRPC callers where it differs.
    `comparison` EQ means this status alone, GE this and all above it that no refusal before it names.
    """

    status: int
    code: int
    reason: str
    message: str
    comparison: str = "EQ"
    retry_seconds: int = 0
    native: int | None = None

    @property
    def native_code(self) -> int:
        """The code for gRPC callers."""
        return self.code if self.native is None else self.native

    @property
    def native_message(self) -> str:
        """The message for gRPC callers; Envoy's own text cannot stand in it."""
        return "The request was refused" if self.message == ENVOYS_TEXT else self.message

    @property
    def json(self) -> dict[str, Any]:
        """The body for JSON callers."""
        kind = "type.googleapis.com/google.rpc."
        info = {"@type": f"{kind}ErrorInfo", "reason": self.reason, "domain": DOMAIN, "metadata": {}}
        retry = [{"@type": f"{kind}RetryInfo", "retryDelay": f"{self.retry_seconds}s"}] if self.retry_seconds else []
        return {"code": self.code, "message": self.message, "details": [info, *retry]}

    @property
    def details_bin(self) -> str:
        """The value of `grpc-status-details-bin` for gRPC callers."""
        info, retry = any_pb2.Any(), any_pb2.Any()
        info.Pack(error_details_pb2.ErrorInfo(reason=self.reason, domain=DOMAIN))
        retry.Pack(error_details_pb2.RetryInfo(retry_delay=duration_pb2.Duration(seconds=self.retry_seconds)))
        details = [info, retry] if self.retry_seconds else [info]
        status = status_pb2.Status(code=self.native_code, message=self.native_message, details=details)
        return b64encode(status.SerializeToString()).decode().rstrip("=")


REFUSALS = (
    Refusal(400, 3, "REQUEST_REFUSED", ENVOYS_TEXT),
    Refusal(401, 16, "CREDENTIALS_INVALID", "The credentials are unknown, expired or revoked"),
    Refusal(403, 16, "CREDENTIALS_INVALID", "The credentials are unknown, expired or revoked"),
    Refusal(404, 5, "REQUEST_REFUSED", "There is nothing at this path", native=12),
    Refusal(408, 4, "DEADLINE_EXCEEDED", "The request did not arrive in time"),
    Refusal(413, 3, "REQUEST_REFUSED", "The body is too large"),
    Refusal(415, 3, "REQUEST_REFUSED", "The content type must be application/json"),
    Refusal(429, 8, "RATE_LIMITED", "Too many calls", retry_seconds=1),
    Refusal(503, 14, "DEPENDENCY_UNAVAILABLE", "The service cannot be reached; try again", retry_seconds=1),
    Refusal(504, 4, "DEADLINE_EXCEEDED", "The answer did not come in time"),
    Refusal(500, 13, "INTERNAL", "Internal error", comparison="GE"),
    Refusal(400, 3, "REQUEST_REFUSED", "The request was refused", comparison="GE"),
)
