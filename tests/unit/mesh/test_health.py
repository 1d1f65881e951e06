"""Health follows the checks; being alive does not."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from mesh.health import LIVE, NOT_SERVING, SERVING, Check, Health


@asynccontextmanager
async def asked(check: Check) -> AsyncIterator[tuple[Health, health_pb2_grpc.HealthStub]]:
    """Health with one check, started, and a client of it."""
    health, server = Health({"PostgreSQL": check}), grpc.aio.server()
    health_pb2_grpc.add_HealthServicer_to_server(health.servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    await health.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield health, health_pb2_grpc.HealthStub(channel)
    await server.stop(grace=None)


async def statuses(stub: health_pb2_grpc.HealthStub) -> tuple[int, int]:
    """Readiness and life."""
    answers = [await stub.Check(health_pb2.HealthCheckRequest(service=name)) for name in ("", LIVE)]
    return answers[0].status, answers[1].status


async def test_a_failing_check_ends_readiness_but_not_life() -> None:
    async def away() -> None:
        raise ConnectionError("no database")

    async with asked(away) as (_, stub):
        assert await statuses(stub) == (NOT_SERVING, SERVING)


async def test_readiness_comes_with_the_checks_and_both_end_at_stop() -> None:
    async def there() -> None:
        return

    async with asked(there) as (health, stub):
        assert await statuses(stub) == (SERVING, SERVING)
        await health.stop()
        assert await statuses(stub) == (NOT_SERVING, NOT_SERVING)
