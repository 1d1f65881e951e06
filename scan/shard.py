"""One shard of what scans count: its keys, and one call to Valkey for all scans that gathered meanwhile.

A scan belongs to the shard of its product. All keys that it touches carry the shard's hash tag, so that they lie on one
node of a cluster and one call may touch them.
"""

import asyncio
import struct
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any, NamedTuple
from zlib import crc32

from mesh.clock import Clock
from mesh.pipeline import Lane, ValkeyAwayError, ValkeyRefusedError
from scan.caller import Caller
from scan.stream import hash_tag, stream_key

SCAN, PROBE, REPORT = "voketag_scan_v2", "voketag_probe_v2", "voketag_report_v2"
MOST_AT_ONCE = 200
GATHER_SECONDS = 0.001
KNOWS_CALLER, KNOWS_CARD, KNOWS_PLACE = 1, 2, 4
WHO = struct.Struct(">B4s2sHHH")


class Sighting(NamedTuple):
    """A scan to be counted. Ids are 16 bytes; batch and factory are None when the card could not be read.

    `market` is the card's, '' when it has none; `payload` is kept with the counts in the stream.
    """

    event_id: bytes
    product_id: bytes
    batch_id: bytes | None
    factory_id: bytes | None
    market: str
    caller: Caller
    payload: bytes


Told = bytes | int | None
"""What a scan is told, for `Counts.read`; or the microseconds that it must wait; or None when Valkey did not say."""
Answer = asyncio.Future[Told]


def shard_of(product_id: bytes, shards: int) -> int:
    """The shard of a product, of so many."""
    return crc32(product_id) % shards


def product_key(product_id: bytes, shard: int) -> bytes:
    """Where the counts of a product are."""
    return b"scan:p:%b:%b" % (hash_tag(shard), product_id)


class Shard:
    """Gathers scans while a call is under way. `limits` are the function's; `refused` is told what Valkey refused, and
    None when it answered; `load` gives Valkey the functions.
    """

    def __init__(
        self,
        number: int,
        lane: Lane,
        *,
        limits: Sequence[int],
        clock: Clock,
        refused: Callable[[int, ValkeyRefusedError | None], None],
        load: Callable[[], Awaitable[None]],
    ) -> None:
        tag = hash_tag(number)
        self._number = number
        self._lane = lane
        self._limits = limits
        self._clock = clock
        self._refused = refused
        self._load = load
        self._stream = stream_key(number)
        self._day = f"scan:day:{tag.decode()}:"
        self._nothing = b"scan:-" + tag
        self._product, self._device, self._source, self._batch, self._factory = (
            b"scan:%b:%b:" % (kind, tag) for kind in (b"p", b"d", b"s", b"b", b"f")
        )
        self._gathered: deque[tuple[Sighting, Answer]] = deque()
        self._sender: asyncio.Task[None] | None = None

    async def count(self, sightings: Sequence[Sighting]) -> Sequence[Told]:
        """Counts scans with one call, at most MOST_AT_ONCE; what each is told, in order."""
        answers: Sequence[Told] | None = await self._asked(*self._words(sightings))
        return (None,) * len(sightings) if answers is None else answers

    def scan(self, sighting: Sighting) -> Answer:
        """Counts a scan with the next call."""
        answer: Answer = asyncio.get_running_loop().create_future()
        self._gathered.append((sighting, answer))
        if self._sender is None:
            self._sender = asyncio.create_task(self._send())
        return answer

    async def probe(self, caller: Caller) -> int | None:
        """Counts a code that is none of ours: microseconds to wait, None when Valkey did not say."""
        keys = [self._source + caller.source]
        if caller.device is not None:
            keys.append(self._device + caller.device)
        answer: int | None = await self._asked("FCALL", PROBE, len(keys), *keys, *self._limits[:2])
        return answer

    async def kept(self, product_id: bytes, batch_id: bytes | None) -> list[bytes | None] | None:
        """The values of a product and its batch; None when Valkey did not say."""
        batch = self._batch + batch_id if batch_id is not None else self._nothing
        answer: list[bytes | None] | None = await self._asked("MGET", self._product + product_id, batch)
        return answer

    async def close(self) -> None:
        """Waits for what was gathered."""
        if self._sender is not None:
            await self._sender

    async def _send(self) -> None:
        """One call at a time. Among others a scan waits a moment for more of them: fewer wake-ups cost less."""
        crowded = False
        try:
            while self._gathered:
                await asyncio.sleep(GATHER_SECONDS if crowded else 0)
                batch = [self._gathered.popleft() for _ in range(min(len(self._gathered), MOST_AT_ONCE))]
                crowded = len(batch) > 1
                tellings = await self.count([sighting for sighting, _ in batch])
                for (_, answer), told in zip(batch, tellings, strict=True):
                    if not answer.done():
                        answer.set_result(told)
        finally:
            self._sender = None
            for _, answer in self._gathered:
                if not answer.done():
                    answer.set_result(None)

    def _words(self, sightings: Sequence[Sighting]) -> list[str | bytes | int]:
        product, device, source, batch, factory = self._product, self._device, self._source, self._batch, self._factory
        nothing = self._nothing
        keys: list[str | bytes | int] = [self._stream, self._day_key(self._clock.now())]
        arguments: list[str | bytes | int] = [*self._limits]
        for sighting in sightings:
            product_id, caller = sighting.product_id, sighting.caller
            its_device, batch_id, factory_id = caller.device, sighting.batch_id, sighting.factory_id
            keys += (
                product + product_id,
                device + its_device if its_device is not None else nothing,
                source + caller.source,
                batch + batch_id if batch_id is not None else nothing,
                factory + factory_id if factory_id is not None else nothing,
            )
            arguments += (sighting.event_id, product_id, _who(sighting), sighting.payload)
        return ["FCALL", SCAN, len(keys), *keys, *arguments]

    def _day_key(self, day: datetime) -> str:
        return f"{self._day}{day:%Y%m%d}"

    async def _asked(self, *words: str | bytes | int) -> Any:
        """The answer; None when there is none to be had. Valkey that has lost its functions gets them again, once."""
        try:
            try:
                answer = await self._lane.call(*words)
            except ValkeyRefusedError as error:
                if "Function not found" not in str(error):
                    raise
                await self._load()
                answer = await self._lane.call(*words)
        except ValkeyAwayError:
            return None
        except ValkeyRefusedError as error:
            self._refused(self._number, error)
            return None
        self._refused(self._number, None)
        return answer


def _who(sighting: Sighting) -> bytes:
    device, source, place = sighting.caller
    flags, country, cell = 0, 0, 0
    if device is not None:
        flags |= KNOWS_CALLER
    if sighting.factory_id is not None:
        flags |= KNOWS_CARD
    if place is not None:
        flags |= KNOWS_PLACE
        country, cell = _country(place.country), place.cell
    return WHO.pack(
        flags, device[:4] if device is not None else b"", source[:2], country, cell, _country(sighting.market)
    )


@lru_cache(maxsize=1_024)
def _country(code: str) -> int:
    """Two ASCII letters as a number; 0 for anything else, which no country is compared with."""
    return int.from_bytes(code.encode()) if len(code) == 2 and code.isascii() else 0
