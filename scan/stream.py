"""The streams of scans in Valkey, one a shard: what was counted and is not in the journal yet."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from redis.asyncio import Redis
from redis.exceptions import ResponseError

START = "0-0"
PASSED = {b"passed": b"over"}
"""The entry that is no scan: it stands where the stream is written up to."""


def stream_key(shard: int) -> str:
    """The stream of a shard. Its counters have the same hash tag, for one function appends and counts."""
    return f"scan:events:{{{shard}}}"


class Entry(NamedTuple):
    """An entry as it stands in the stream; ids `<milliseconds>-<number>` rise."""

    stream_id: str
    fields: Mapping[bytes, bytes]


@dataclass(frozen=True, slots=True)
class Backlog:
    """How much waits in a stream, for how many seconds the oldest of it, and the last id that the stream gave."""

    depth: int
    seconds: float
    last_id: str


@dataclass(frozen=True, slots=True)
class Memory:
    """Valkey's memory in bytes, `limit` 0 for none; `evicts` when it would drop keys that nobody told it to drop."""

    used: int
    limit: int
    evicts: bool


class Stream:
    """The streams over a client. All raise RedisError when Valkey is away."""

    def __init__(self, client: Redis) -> None:
        self._client = client

    async def read(self, shard: int, *, after: str, count: int) -> list[Entry]:
        """The next entries, oldest first."""
        found: Any = await self._client.xrange(stream_key(shard), min=f"({after}", count=count)
        return [Entry(stream_id.decode(), fields) for stream_id, fields in found]

    async def read_until(self, shard: int, last: str, *, count: int) -> list[Entry]:
        """The oldest entries up to an id, that one included."""
        found: Any = await self._client.xrange(stream_key(shard), max=last, count=count)
        return [Entry(stream_id.decode(), fields) for stream_id, fields in found]

    async def trim(self, shard: int, last: str) -> None:
        """Drops every entry up to an id, that one included."""
        milliseconds, number = last.split("-")
        await self._client.xtrim(stream_key(shard), minid=f"{milliseconds}-{int(number) + 1}", approximate=False)

    async def pass_over(self, shard: int, last: str) -> None:
        """From now on the stream gives ids after `last` alone, even when it forgot some or its clock went back."""
        fields: Any = PASSED
        try:
            await self._client.xadd(stream_key(shard), fields, id=last)
        except ResponseError as error:
            if "equal or smaller" not in str(error):
                raise

    async def backlog(self, shard: int) -> Backlog:
        """What waits, by Valkey's own clock."""
        try:
            info: Any = await self._client.xinfo_stream(stream_key(shard))
        except ResponseError as error:
            if "no such key" not in str(error):
                raise
            return Backlog(0, 0.0, START)
        seconds, microseconds = await self._client.time()
        first = info["first-entry"]
        waits = seconds + microseconds / 1e6 - int(first[0].split(b"-")[0]) / 1000 if first else 0.0
        return Backlog(info["length"], max(0.0, waits), info["last-generated-id"].decode())

    async def memory(self) -> Memory:
        """How full Valkey is."""
        info: Any = await self._client.info("memory")
        return Memory(info["used_memory"], info["maxmemory"], info["maxmemory_policy"].startswith("allkeys"))


def precedes(one: str, other: str) -> bool:
    """Whether an id comes before another."""
    return _parts(one) < _parts(other)


def _parts(stream_id: str) -> tuple[int, int]:
    milliseconds, number = stream_id.split("-")
    return int(milliseconds), int(number)
