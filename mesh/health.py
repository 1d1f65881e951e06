"""Health that follows what the server stands on: grpc.health.v1, fed by real checks."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping

import structlog
from grpc_health.v1 import health, health_pb2

log = structlog.get_logger()

Check = Callable[[], Awaitable[None]]
LIVE = "live"
"""The service name that is SERVING while the process answers at all, whatever its checks say: for liveness probes."""
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


class Health:
    """The overall status (service name ''): NOT_SERVING until every check has passed, and again while one fails."""

    def __init__(self, checks: Mapping[str, Check], *, every_seconds: float = 1.0) -> None:
        self.servicer = health.aio.HealthServicer()
        self._checks = checks
        self._every = every_seconds
        self._failing: frozenset[str] | None = None

    async def start(self) -> None:
        """Checks once, so that the first answer is a true one."""
        await self.servicer.set(LIVE, SERVING)
        await self.servicer.set("", NOT_SERVING)
        await self._round()

    async def watch(self) -> None:
        """Goes on checking until cancelled."""
        while True:
            await asyncio.sleep(self._every)
            await self._round()

    async def stop(self) -> None:
        """NOT_SERVING for good: load balancers look elsewhere while calls under way finish."""
        await self.servicer.enter_graceful_shutdown()

    async def _round(self) -> None:
        failing = frozenset([name for name, check in self._checks.items() if not await self._passes(name, check)])
        if failing != self._failing:
            self._failing = failing
            log.log(30 if failing else 20, "health changed", failing=sorted(failing))
            await self.servicer.set("", NOT_SERVING if failing else SERVING)

    async def _passes(self, name: str, check: Check) -> bool:
        try:
            async with asyncio.timeout(3):
                await check()
        except Exception as error:  # noqa: BLE001 - whatever a check raises, it has not passed
            log.debug("check failed", check=name, error=str(error))
            return False
        return True
