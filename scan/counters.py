"""What a scan counts, and how often a caller may scan: one call to Valkey for all scans of an event-loop turn.

While a call is under way the next scans gather for the one after it. Keys carry the hash tag of their shard, so that
all that one call touches lies on one node of a cluster.
"""

import asyncio
import math
import struct
from collections import deque
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from mesh.clock import Clock
from mesh.errors import RateLimited
from mesh.limits import LocalLimiter, Rate
from mesh.pipeline import Pipeline, ValkeyAwayError, ValkeyRefusedError
from mesh.presence import Presence
from scan.caller import Caller
from scan.counts import MICROSECONDS, Counts
from scan.stream import stream_key

LIBRARY = (Path(__file__).parent / "functions" / "voketag_scan_v2.lua").read_text()
SCAN, PROBE, REPORT = "voketag_scan_v2", "voketag_probe_v2", "voketag_report_v2"
MOST_AT_ONCE = 200
GATHER_SECONDS = 0.001
KNOWS_CALLER, KNOWS_CARD, KNOWS_PLACE = 1, 2, 4
WHO = struct.Struct(">B4s2sHHH")
_TAG = "{0}"
STREAM = stream_key(0)
"""Where counted scans wait for the journal."""
_NOTHING = b"scan:-{0}"
_PRODUCT, _DEVICE, _SOURCE, _BATCH, _FACTORY = (b"scan:%b:{0}:" % kind for kind in (b"p", b"d", b"s", b"b", b"f"))


class Budgets(NamedTuple):
    """How often there may be scans from an address prefix, from a device, of a code, and of a factory's codes."""

    source: Rate
    device: Rate
    code: Rate
    factory: Rate


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


RawIdSource = Callable[[], bytes]
"""Makes ids of scans: UUIDv7, 16 bytes."""

_Waiting = tuple[Sighting, "asyncio.Future[bytes | int | None]"]


class Counters:
    """Counts scans and keeps the budgets, for all processes together.

    While Valkey is away nothing is counted and each process keeps the budgets of address prefixes on its own.
    """

    def __init__(
        self, pipeline: Pipeline, fallback: LocalLimiter, budgets: Budgets, clock: Clock, presence: Presence
    ) -> None:
        self._pipeline = pipeline
        self._clock = clock
        self._fallback = fallback
        self._budgets = budgets
        self._presence = presence
        self._limits = tuple([part for rate in budgets for part in (round(MICROSECONDS / rate.per_second), rate.burst)])
        self._gathered: deque[_Waiting] = deque()
        self._sender: asyncio.Task[None] | None = None

    async def load(self) -> None:
        """Gives Valkey the functions. Raises ValkeyAwayError, ValkeyRefusedError."""
        await self._pipeline.call("FUNCTION", "LOAD", "REPLACE", LIBRARY)

    async def scan(self, sighting: Sighting) -> bytes | None:
        """Counts a scan: what `Counts.read` reads; None when Valkey is away. Raises RateLimited."""
        answer: asyncio.Future[bytes | int | None] = asyncio.get_running_loop().create_future()
        self._gathered.append((sighting, answer))
        if self._sender is None:
            self._sender = asyncio.create_task(self._send())
        told = await answer
        if isinstance(told, bytes):
            return told
        await self._hold_back(sighting.caller, told)
        return None

    async def probe(self, caller: Caller) -> None:
        """Takes a scan of something that is no code of ours from the caller's budget. Raises RateLimited."""
        keys = [_SOURCE + caller.source]
        if caller.device is not None:
            keys.append(_DEVICE + caller.device)
        await self._hold_back(caller, await self._asked("FCALL", PROBE, len(keys), *keys, *self._limits[:2]))

    async def peek(self, product_id: bytes, batch_id: bytes | None) -> Counts | None:
        """What is kept of a product and its batch, without a scan; None when Valkey is away."""
        keys = _PRODUCT + product_id, _BATCH + batch_id if batch_id is not None else _NOTHING
        answer = await self._asked("MGET", *keys)
        return None if answer is None else Counts.kept(round(self._clock.now().timestamp() * MICROSECONDS), *answer)

    async def close(self) -> None:
        """Waits for what was gathered."""
        if self._sender is not None:
            await self._sender

    async def _hold_back(self, caller: Caller, wait: int | None) -> None:
        """`wait` in microseconds, None when Valkey did not say."""
        if wait is None:
            seconds = await self._fallback.take(caller.source.hex(), self._budgets.source)
        else:
            seconds = wait / MICROSECONDS
        if seconds > 0:
            raise RateLimited(retry_after=seconds, seconds=math.ceil(seconds))

    async def _send(self) -> None:
        """One call at a time. Among others a scan waits a moment for more of them: fewer wake-ups cost less."""
        crowded = False
        try:
            while self._gathered:
                await asyncio.sleep(GATHER_SECONDS if crowded else 0)
                batch = [self._gathered.popleft() for _ in range(min(len(self._gathered), MOST_AT_ONCE))]
                crowded = len(batch) > 1
                answers = await self._asked(*self._words([sighting for sighting, _ in batch]))
                for place, (_, answer) in enumerate(batch):
                    if not answer.done():
                        answer.set_result(None if answers is None else answers[place])
        finally:
            self._sender = None
            for _, answer in self._gathered:
                if not answer.done():
                    answer.set_result(None)

    def _words(self, sightings: Sequence[Sighting]) -> list[str | bytes | int]:
        keys: list[str | bytes | int] = [STREAM, _day_key(self._clock.now())]
        arguments: list[str | bytes | int] = [*self._limits]
        for sighting in sightings:
            product_id, caller = sighting.product_id, sighting.caller
            device, batch_id, factory_id = caller.device, sighting.batch_id, sighting.factory_id
            keys += (
                _PRODUCT + product_id,
                _DEVICE + device if device is not None else _NOTHING,
                _SOURCE + caller.source,
                _BATCH + batch_id if batch_id is not None else _NOTHING,
                _FACTORY + factory_id if factory_id is not None else _NOTHING,
            )
            arguments += (sighting.event_id, product_id, _who(sighting), sighting.payload)
        return ["FCALL", SCAN, len(keys), *keys, *arguments]

    async def _asked(self, *words: str | bytes | int) -> Any:
        """The answer; None when there is none to be had. Valkey that has lost its functions gets them again, once."""
        try:
            try:
                answer = await self._pipeline.call(*words)
            except ValkeyRefusedError as error:
                if "Function not found" not in str(error):
                    raise
                await self.load()
                answer = await self._pipeline.call(*words)
        except ValkeyAwayError:
            return None
        except ValkeyRefusedError as error:
            self._presence.away(error)
            return None
        self._presence.here()
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


def product_key(product_id: bytes) -> bytes:
    """Where the counts of a product are."""
    return _PRODUCT + product_id


def _day_key(day: datetime) -> str:
    return f"scan:day:{_TAG}:{day:%Y%m%d}"
