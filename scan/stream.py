"""The streams of scans in Valkey, one a shard: what was counted and is not in the journal yet."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any, NamedTuple

from mesh.pipeline import Lanes, ValkeyRefusedError

START = "0-0"
PASSED = {b"passed": b"over"}
"""The entry that is no scan: it stands where the stream is written up to."""


def hash_tag(shard: int) -> bytes:
    """What all keys of a shard have in their names, which puts them on one node of a cluster. Its braces are part."""
    return b"{%d}" % shard


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
    """The streams over what leads to Valkey. All raise ValkeyError when it is away."""

    def __init__(self, lanes: Lanes) -> None:
        self._lanes = lanes

    async def read(self, shard: int, *, after: str, count: int) -> list[Entry]:
        """The next entries, oldest first."""
        return await self._range(shard, f"({after}", "+", count)

    async def read_until(self, shard: int, last: str, *, count: int) -> list[Entry]:
        """The oldest entries up to an id, that one included."""
        return await self._range(shard, "-", last, count)

    async def trim(self, shard: int, last: str) -> None:
        """Drops every entry up to an id, that one included."""
        milliseconds, number = last.split("-")
        await self._call(shard, "XTRIM", "MINID", f"{milliseconds}-{int(number) + 1}")

    async def pass_over(self, shard: int, last: str) -> None:
        """From now on the stream gives ids after `last` alone, even when it forgot some or its clock went back."""
        try:
            await self._call(shard, "XADD", last, *chain.from_iterable(PASSED.items()))
        except ValkeyRefusedError as error:
            if "equal or smaller" not in str(error):
                raise

    async def backlog(self, shard: int) -> Backlog:
        """What waits, by Valkey's own clock."""
        lane, key = self._lanes.at(hash_tag(shard)), stream_key(shard)
        try:
            told = await lane.call("XINFO", "STREAM", key)
        except ValkeyRefusedError as error:
            if "no such key" not in str(error):
                raise
            return Backlog(0, 0.0, START)
        seconds, microseconds = await lane.call("TIME")
        info = _pairs(told)
        first = info[b"first-entry"]
        waits = int(seconds) + int(microseconds) / 1e6 - int(first[0].split(b"-")[0]) / 1000 if first else 0.0
        return Backlog(info[b"length"], max(0.0, waits), info[b"last-generated-id"].decode())

    async def memory(self) -> Memory:
        """How full Valkey is; of a cluster the node that is fullest."""
        nodes = [_memory(info) for info in await self._lanes.everywhere("INFO", "memory")]
        fullest = max(nodes, key=lambda node: (node.used / node.limit if node.limit else 0, node.used))
        return replace(fullest, evicts=any(node.evicts for node in nodes))

    async def _range(self, shard: int, first: str, last: str, count: int) -> list[Entry]:
        found = await self._call(shard, "XRANGE", first, last, "COUNT", count)
        return [Entry(stream_id.decode(), _pairs(fields)) for stream_id, fields in found]

    async def _call(self, shard: int, command: str, *words: str | bytes | int) -> Any:
        return await self._lanes.at(hash_tag(shard)).call(command, stream_key(shard), *words)


def _pairs(flat: Sequence[Any]) -> dict[bytes, Any]:
    return dict(zip(flat[::2], flat[1::2], strict=True))


def _memory(info: bytes) -> Memory:
    found = dict(line.split(":", 1) for line in info.decode().split() if ":" in line)
    return Memory(int(found["used_memory"]), int(found["maxmemory"]), found["maxmemory_policy"].startswith("allkeys"))


def precedes(one: str, other: str) -> bool:
    """Whether an id comes before another."""
    return _parts(one) < _parts(other)


def _parts(stream_id: str) -> tuple[int, int]:
    milliseconds, number = stream_id.split("-")
    return int(milliseconds), int(number)
