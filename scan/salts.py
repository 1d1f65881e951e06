"""The daily salts under which callers have their names. When a day's salt is gone, nobody can tell who they were.

A salt is random, lies in one row, and is destroyed at the second midnight (UTC) after its day begins: 48 hours, and
never more. Processes hold today's in memory and look every minute; the next day's is made ahead, so that midnight needs
no PostgreSQL.
"""

import asyncio
import hashlib
import hmac
import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import date, timedelta
from functools import lru_cache
from typing import Protocol

from mesh.clock import Clock
from mesh.errors import DependencyUnavailable
from mesh.presence import Presence
from mesh.tasks import end

SALT_BYTES = 32
LOOK_SECONDS = 60.0
NAME_BYTES = 16


class Pseudonyms:
    """Names under one salt: HMAC-SHA256, of which 16 bytes are kept (RFC 2104).

    `of_caller` gives those of a device and of its address prefix, and remembers them while the salt lasts.
    """

    def __init__(self, salt: bytes) -> None:
        self._mac = hmac.new(salt, digestmod=hashlib.sha256)
        self.of_caller = lru_cache(maxsize=65_536)(self._of_caller)

    def of_source(self, prefix: str) -> bytes:
        """The name of an address prefix."""
        return self._of("source", prefix)

    def _of_caller(self, device: str, prefix: str) -> tuple[bytes, bytes]:
        return self._of("device", device), self._of("source", prefix)

    def _of(self, kind: str, name: str) -> bytes:
        mac = self._mac.copy()
        mac.update(f"{kind}\n{name}".encode())
        return mac.digest()[:NAME_BYTES]


class SaltStore(Protocol):
    """Keeps salts."""

    async def salts(self, wanted: Mapping[date, bytes], *, before: date) -> Mapping[date, bytes]:
        """The salts of the days wanted, made of what is given where there is none; those before a day are destroyed.

        Raises DependencyUnavailable.
        """
        ...


class Salts:
    """Today's names. Without a salt callers have names that this process alone can tell, and no device."""

    def __init__(self, store: SaltStore, clock: Clock, presence: Presence) -> None:
        self._store = store
        self._clock = clock
        self._presence = presence
        self._of_days: dict[date, Pseudonyms] = {}
        self._own = Pseudonyms(secrets.token_bytes(SALT_BYTES))

    def names(self) -> tuple[Pseudonyms, bool]:
        """The names of today, and whether they are everybody's: False while today's salt cannot be had."""
        today = self._of_days.get(self._clock.now().date())
        return (today, True) if today is not None else (self._own, False)

    async def look(self) -> None:
        """Gets today's and tomorrow's salts, makes what is missing, destroys the old. Raises DependencyUnavailable."""
        today = self._clock.now().date()
        wanted = {day: secrets.token_bytes(SALT_BYTES) for day in (today, today + timedelta(days=1))}
        found = await self._store.salts(wanted, before=today - timedelta(days=1))
        self._of_days = {day: self._of_days.get(day) or Pseudonyms(salt) for day, salt in found.items() if day >= today}

    @asynccontextmanager
    async def followed(self) -> AsyncIterator[None]:
        """Looks every minute while the block runs."""
        task = asyncio.create_task(self._follow())
        try:
            yield
        finally:
            await end(task)

    async def _follow(self) -> None:
        while True:
            try:
                await self.look()
                self._presence.here()
            except DependencyUnavailable as away:
                self._presence.away(away)
            await asyncio.sleep(LOOK_SECONDS if self.names()[1] else 1.0)
