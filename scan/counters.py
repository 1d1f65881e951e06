"""What a scan counts, and how often a caller may scan: one call to Valkey for all scans of a turn and of a shard."""

import asyncio
import math
from collections.abc import Callable, Sequence
from itertools import cycle
from pathlib import Path
from typing import NamedTuple

from mesh.clock import Clock
from mesh.errors import RateLimited
from mesh.limits import LocalLimiter, Rate
from mesh.pipeline import Lanes, ValkeyRefusedError
from mesh.presence import Presence
from scan.caller import Caller
from scan.counts import MICROSECONDS, Counts
from scan.shard import MOST_AT_ONCE, Shard, Sighting, Told, shard_of
from scan.stream import hash_tag

LIBRARY = (Path(__file__).parent / "functions" / "voketag_scan_v2.lua").read_text()
RawIdSource = Callable[[], bytes]
"""Makes ids of scans: UUIDv7, 16 bytes."""


class Budgets(NamedTuple):
    """How often there may be scans from an address prefix, from a device, of a code, and of a factory's codes."""

    source: Rate
    device: Rate
    code: Rate
    factory: Rate

    def of_shard(self, shards: int) -> list[int]:
        """Interval in microseconds and burst of each in one of so many shards.

        A factory's codes are spread evenly, so that each shard has its share. A caller may stay with one code, which
        lies on one shard: there it has all of its budget, and over several shards as many.
        """
        factory = Rate(self.factory.per_second / shards, max(1, self.factory.burst // shards))
        rates = self.source, self.device, self.code, factory
        return [part for rate in rates for part in (round(MICROSECONDS / rate.per_second), rate.burst)]


class Counters:
    """Counts scans and keeps the budgets, for all processes together.

    While Valkey, or a shard of it, is away nothing is counted there and each process keeps the budgets of address
    prefixes on its own.
    """

    def __init__(
        self,
        lanes: Lanes,
        fallback: LocalLimiter,
        budgets: Budgets,
        clock: Clock,
        presence: Presence,
        *,
        shards: int = 1,
    ) -> None:
        self._lanes = lanes
        self._clock = clock
        self._fallback = fallback
        self._budgets = budgets
        self._presence = presence
        self._refusing: set[int] = set()
        limits = budgets.of_shard(shards)
        self._shards = [
            Shard(
                number,
                lanes.at(hash_tag(number)),
                limits=limits,
                clock=clock,
                refused=self._note,
                load=self.load,
            )
            for number in range(shards)
        ]
        self._turns = cycle(self._shards)

    async def load(self) -> None:
        """Gives Valkey the functions. Raises ValkeyAwayError, ValkeyRefusedError."""
        await self._lanes.everywhere("FUNCTION", "LOAD", "REPLACE", LIBRARY)

    async def scan(self, sighting: Sighting) -> bytes | None:
        """Counts a scan: what `Counts.read` reads; None when Valkey is away. Raises RateLimited."""
        return await self.allowed(sighting.caller, await self._of(sighting.product_id).scan(sighting))

    async def count(self, sightings: Sequence[Sighting], tell: Callable[[int, Told], None]) -> None:
        """Counts scans with one call a shard; `tell` gets each one's place and what it is told, as shards answer."""

        async def part(shard: Shard, here: Sequence[int]) -> None:
            for start in range(0, len(here), MOST_AT_ONCE):
                some = here[start : start + MOST_AT_ONCE]
                for place, told in zip(some, await shard.count([sightings[place] for place in some]), strict=True):
                    tell(place, told)

        if len(self._shards) == 1:
            await part(self._shards[0], range(len(sightings)))
            return
        places: dict[Shard, list[int]] = {}
        for place, sighting in enumerate(sightings):
            places.setdefault(self._of(sighting.product_id), []).append(place)
        await asyncio.gather(*[part(shard, here) for shard, here in places.items()])

    async def allowed(self, caller: Caller, told: Told) -> bytes | None:
        """What a scan was told; None: Valkey is away, and our own budget lets it pass. Raises RateLimited."""
        if isinstance(told, bytes):
            return told
        await self._hold_back(caller, told)
        return None

    async def probe(self, caller: Caller) -> None:
        """Takes a scan of something that is no code of ours from the caller's budget. Raises RateLimited.

        It is counted in one shard after the other, as the scans of many products are.
        """
        await self._hold_back(caller, await next(self._turns).probe(caller))

    async def peek(self, product_id: bytes, batch_id: bytes | None) -> Counts | None:
        """What is kept of a product and its batch, without a scan; None when Valkey is away."""
        kept = await self._of(product_id).kept(product_id, batch_id)
        return None if kept is None else Counts.kept(round(self._clock.now().timestamp() * MICROSECONDS), *kept)

    async def close(self) -> None:
        """Waits for what was gathered."""
        for shard in self._shards:
            await shard.close()

    def _of(self, product_id: bytes) -> Shard:
        return self._shards[shard_of(product_id, len(self._shards))]

    async def _hold_back(self, caller: Caller, wait: int | None) -> None:
        """`wait` in microseconds, None when Valkey did not say."""
        if wait is None:
            seconds = await self._fallback.take(caller.source.hex(), self._budgets.source)
        else:
            seconds = wait / MICROSECONDS
        if seconds > 0:
            raise RateLimited(retry_after=seconds, seconds=math.ceil(seconds))

    def _note(self, shard: int, error: ValkeyRefusedError | None) -> None:
        if error is not None:
            self._refusing.add(shard)
            self._presence.away(error)
        elif self._refusing:
            self._refusing.discard(shard)
            if not self._refusing:
                self._presence.here()
