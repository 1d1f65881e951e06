"""Valkey off the hot path: limits, publish and subscribe."""

import structlog
from redis.asyncio import Redis, RedisCluster
from redis.backoff import ExponentialBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from mesh.config import SpreadSettings, ValkeySettings
from mesh.errors import DependencyUnavailable

ANSWER_SECONDS = 0.5

log = structlog.get_logger()


def client(settings: ValkeySettings) -> Redis:
    """A client that gives up after two times ANSWER_SECONDS, so that callers can go on without Valkey."""
    password = settings.valkey_password.get_secret_value() if settings.valkey_password else None
    return Redis.from_url(
        settings.valkey_url,
        password=password,
        socket_timeout=ANSWER_SECONDS,
        socket_connect_timeout=ANSWER_SECONDS,
        retry=Retry(ExponentialBackoff(cap=0.1, base=0.02), retries=1),
    )


def spread_client(settings: SpreadSettings) -> Redis | RedisCluster:
    """A client of one server or of a cluster, as the settings say."""
    if not settings.valkey_cluster:
        return client(settings)
    password = settings.valkey_password.get_secret_value() if settings.valkey_password else None
    return RedisCluster.from_url(
        settings.valkey_url,
        password=password,
        socket_timeout=ANSWER_SECONDS,
        socket_connect_timeout=ANSWER_SECONDS,
        retry=Retry(ExponentialBackoff(cap=0.1, base=0.02), retries=1),
    )


async def connect(settings: ValkeySettings, *, wait_seconds: float = 10.0) -> Redis:
    """A client whose server has answered. Raises DependencyUnavailable."""
    valkey = client(settings)
    waiting = Retry(ExponentialBackoff(cap=0.5, base=0.05), retries=max(1, int(wait_seconds / 0.5)))
    try:
        await waiting.call_with_retry(valkey.ping, _ignore)
    except (RedisError, OSError) as error:
        log.error("Valkey cannot be reached", url=settings.valkey_url, error=str(error))
        await valkey.aclose()
        raise DependencyUnavailable(dependency="Valkey") from error
    return valkey


async def _ignore(_: Exception) -> None:
    """Nothing is to be undone between two tries."""


async def check(valkey: Redis) -> None:
    """Answers when Valkey does."""
    await valkey.ping()
