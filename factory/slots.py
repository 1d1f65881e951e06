"""Imports at the same time: leases in Valkey, shared by every process; counted within this one while that is away."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

from redis.asyncio import Redis
from redis.exceptions import RedisError

from mesh.clock import IdSource
from mesh.errors import QuotaExceeded
from mesh.presence import Presence

RETRY_SECONDS = 5.0

# Leases of a factory by the time at which they end, on Valkey's own clock. Takes ARGV[1] unless ARGV[3] others stand,
# and gives their number; without ARGV[1] it only counts.
LEASES = """
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
local lease, milliseconds, limit = ARGV[1], ARGV[2], tonumber(ARGV[3])
local others = redis.call('ZCARD', KEYS[1])
if lease == '' then return others end
if redis.call('ZSCORE', KEYS[1], lease) then others = others - 1 end
if limit < 0 or others < limit then
  redis.call('ZADD', KEYS[1], now + milliseconds, lease)
  redis.call('PEXPIRE', KEYS[1], milliseconds)
end
return others
"""


class Slots:
    """The imports under way. A process that dies leaves its leases to end by themselves."""

    def __init__(self, valkey: Redis, new_id: IdSource, *, lease_seconds: float) -> None:
        self._valkey = valkey
        self._script = valkey.register_script(LEASES)
        self._new_id = new_id
        self._lease_seconds = lease_seconds
        self._presence = Presence("import slots in Valkey")
        self._here: Counter[UUID] = Counter()

    @asynccontextmanager
    async def held(self, factory_id: UUID, limit: int) -> AsyncIterator[None]:
        """An import is under way while the block runs. Raises QuotaExceeded when `limit` of them are."""
        lease = str(self._new_id())
        try:
            others = await self._others(factory_id, lease, limit)
            if others >= limit:
                raise QuotaExceeded(quota="concurrent_imports", limit=limit, used=others, retry_after=RETRY_SECONDS)
            self._here[factory_id] += 1
            over = asyncio.Event()
            keeping = asyncio.create_task(self._keep(factory_id, lease, over))
            try:
                yield
            finally:
                self._here[factory_id] -= 1
                if not self._here[factory_id]:
                    del self._here[factory_id]
                # Not cancelled: a renewal under way would outlive the release that follows.
                over.set()
                await keeping
        finally:
            await self._release(factory_id, lease)

    async def count(self, factory_id: UUID) -> int:
        """Imports under way."""
        return await self._others(factory_id, "", -1)

    async def _others(self, factory_id: UUID, lease: str, limit: int) -> int:
        try:
            others = await self._script(keys=[_key(factory_id)], args=[lease, round(self._lease_seconds * 1000), limit])
        except (RedisError, OSError) as error:
            self._presence.away(error)
            return self._here[factory_id]
        self._presence.here()
        return int(others)

    async def _keep(self, factory_id: UUID, lease: str, over: asyncio.Event) -> None:
        """Holds the lease, also through a Valkey that lost it."""
        while not over.is_set():
            try:
                await asyncio.wait_for(over.wait(), self._lease_seconds / 3)
            except TimeoutError:
                await self._others(factory_id, lease, -1)

    async def _release(self, factory_id: UUID, lease: str) -> None:
        try:
            await self._valkey.zrem(_key(factory_id), lease)
        except (RedisError, OSError) as error:
            self._presence.away(error)  # it ends by itself


def _key(factory_id: UUID) -> str:
    return f"imports:{{{factory_id}}}"
