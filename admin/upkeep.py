"""What is over is removed: sessions, tokens, logins under way, failures and requests, every hour in every process."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import structlog

from admin.lockout import FORGOTTEN
from admin.store import Store
from mesh import idempotency
from mesh.clock import Clock
from mesh.error import VokeTagError
from mesh.tasks import end

log = structlog.get_logger()
EVERY_SECONDS = 3600.0
REQUESTS_KEPT = timedelta(days=2)
REQUESTS_AT_ONCE = 10_000


class Upkeep:
    """Removes; several processes that do it at once disturb nobody."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def run_once(self) -> None:
        """Removes what is over now. Raises DependencyUnavailable."""
        now = self._clock.now()
        async with self._store.connection() as connection:
            await self._store.sql.forget_sessions(connection, before=now)
            await self._store.sql.forget_resets(connection, before=now)
            await self._store.sql.forget_oidc_logins(connection, before=now)
            await self._store.sql.forget_failures(connection, before=now - FORGOTTEN)
            await idempotency.forget(connection, now - REQUESTS_KEPT, REQUESTS_AT_ONCE)

    @asynccontextmanager
    async def going_on(self) -> AsyncIterator[None]:
        """Does so every hour until the block ends."""
        task = asyncio.create_task(self._run())
        try:
            yield
        finally:
            await end(task)

    async def _run(self) -> None:
        while True:
            try:
                await self.run_once()
            except VokeTagError as error:
                log.warning("upkeep waits for its next turn", error=str(error))
            await asyncio.sleep(EVERY_SECONDS)
