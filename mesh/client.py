"""Channels to peers: keepalive, round robin over a headless service, and the caller's token on every call."""

from collections.abc import Callable
from typing import Any

from grpc import aio

from mesh.identity import ServiceTokens

KEEPALIVE_MS, KEEPALIVE_TIMEOUT_MS = 30_000, 5_000


def _with(details: aio.ClientCallDetails, key: str, value: str) -> aio.ClientCallDetails:
    metadata = aio.Metadata(*(details.metadata or ()))
    metadata.add(key, value)
    return aio.ClientCallDetails(details.method, details.timeout, metadata, details.credentials, details.wait_for_ready)


class _UnaryUnary(aio.UnaryUnaryClientInterceptor):
    def __init__(self, key: str, value: Callable[[], str]) -> None:
        self._key, self._value = key, value

    async def intercept_unary_unary(self, continuation: Any, details: Any, request: Any) -> Any:
        return await continuation(_with(details, self._key, self._value()), request)


class _UnaryStream(aio.UnaryStreamClientInterceptor):
    def __init__(self, key: str, value: Callable[[], str]) -> None:
        self._key, self._value = key, value

    async def intercept_unary_stream(self, continuation: Any, details: Any, request: Any) -> Any:
        return await continuation(_with(details, self._key, self._value()), request)


def channel(target: str, *, header: tuple[str, Callable[[], str]] | None = None) -> aio.Channel:
    """A plain channel (sidecars do TLS) that puts `header`, a key and what gives its value, on each call.

    Streams that are written take it as metadata: an interceptor on one leaves a generator running.
    """
    interceptors = [kind(*header) for kind in (_UnaryUnary, _UnaryStream)] if header else []
    options = [
        ("grpc.lb_policy_name", "round_robin"),
        ("grpc.use_local_subchannel_pool", 1),  # a new channel does not inherit another one's back-off
        ("grpc.keepalive_time_ms", KEEPALIVE_MS),
        ("grpc.keepalive_timeout_ms", KEEPALIVE_TIMEOUT_MS),
        ("grpc.http2.ping_timeout_ms", KEEPALIVE_TIMEOUT_MS),  # it is this one that ends the connection
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.max_receive_message_length", 4 * 1024 * 1024),
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 2_000),
    ]
    return aio.insecure_channel(target, options=options, interceptors=interceptors)


def peer(target: str, *, tokens: ServiceTokens, service: str) -> aio.Channel:
    """A channel to another service, on which this one proves who it is."""
    return channel(target, header=("authorization", lambda: f"Bearer {tokens.token(service)}"))


def with_api_key(target: str, key: str) -> aio.Channel:
    """A channel on which a factory proves who it is."""
    return channel(target, header=("x-api-key", lambda: key))
