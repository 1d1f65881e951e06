"""A peer's error as the error that its caller gets."""

from collections.abc import Iterable

import grpc
from google.rpc import error_details_pb2, status_pb2

from mesh.error import VokeTagError
from mesh.errors import DependencyUnavailable

AWAY = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
    }
)


def relayed(error: grpc.aio.AioRpcError, dependency: str, kinds: Iterable[type[VokeTagError]]) -> Exception:
    """One of `kinds` with the peer's own variables, DependencyUnavailable when it was away, else the error itself."""
    info = error_details_pb2.ErrorInfo()
    details = dict(error.trailing_metadata() or ()).get("grpc-status-details-bin", b"")
    for detail in status_pb2.Status.FromString(bytes(details)).details:
        detail.Unpack(info)
    for kind in kinds:
        if kind.reason == info.reason:
            return kind(**dict(info.metadata))
    return DependencyUnavailable(dependency=dependency) if error.code() in AWAY else error
