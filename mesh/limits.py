"""How often a caller may call: GCRA (ATM Forum TM 4.0, virtual scheduling) in Valkey, locally where that is away."""

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

from redis.asyncio import Redis, RedisCluster
from redis.exceptions import RedisClusterException, RedisError

from mesh.clock import Clock
from mesh.presence import Presence


class Rate(NamedTuple):
    """So many calls a second in the long run, and so many at once."""

    per_second: float
    burst: int


RATES: Mapping[str, Rate] = {
    "READ": Rate(100, 200),
    "WRITE": Rate(50, 200),
    "BULK": Rate(5, 20),
    "REPORT": Rate(1 / 60, 20),
    "LOGIN": Rate(1, 30),
}
"""Budgets of one caller by rate class. The classes SCAN and INTERNAL are not limited here."""

GCRA = """
local t = redis.call('TIME')
local now = t[1] + t[2] / 1e6
local interval, burst = tonumber(ARGV[1]), tonumber(ARGV[2])
local tat = math.max(tonumber(redis.call('GET', KEYS[1]) or now), now)
local wait = tat - now - (burst - 1) * interval
if wait > 0 then return tostring(wait) end
redis.call('SET', KEYS[1], string.format('%.6f', tat + interval), 'PX', math.ceil((tat + interval - now) * 1000))
return '0'
"""


class Limiter(Protocol):
    """A budget of calls."""

    async def take(self, key: str, rate: Rate) -> float:
        """Takes one call from the budget of `key`: 0 when there was one, else the seconds until there is."""
        ...


class LocalLimiter:
    """Budgets of this process alone; forgets the callers seen longest ago when there are more than `capacity`."""

    def __init__(self, clock: Clock, *, capacity: int = 100_000) -> None:
        self._clock = clock
        self._capacity = capacity
        self._arrivals: OrderedDict[str, float] = OrderedDict()

    async def take(self, key: str, rate: Rate) -> float:
        """See Limiter."""
        now = self._clock.monotonic()
        interval = 1 / rate.per_second
        arrival = max(self._arrivals.get(key, now), now)
        wait = arrival - now - (rate.burst - 1) * interval
        if wait > 0:
            return wait
        self._arrivals[key] = arrival + interval
        self._arrivals.move_to_end(key)
        if len(self._arrivals) > self._capacity:
            self._arrivals.popitem(last=False)
        return 0.0


class SharedLimiter:
    """Budgets that every process draws from, kept in Valkey; while Valkey is away each process keeps its own."""

    def __init__(self, valkey: Redis | RedisCluster, fallback: LocalLimiter) -> None:
        self._valkey = valkey
        self._fallback = fallback
        self._presence = Presence("limits in Valkey")

    async def take(self, key: str, rate: Rate) -> float:
        """See Limiter."""
        try:
            wait: Any = await self._valkey.eval(GCRA, 1, f"limit:{{{key}}}", 1 / rate.per_second, rate.burst)
        except (RedisError, RedisClusterException, OSError) as error:
            self._presence.away(error)
            return await self._fallback.take(key, rate)
        self._presence.here()
        return float(wait)
