"""How often a code was scanned, and how often a caller may scan: one call to Valkey for both."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mesh.errors import RateLimited
from mesh.limits import LocalLimiter, Rate
from mesh.pipeline import Pipeline, ValkeyAwayError, ValkeyRefusedError
from mesh.presence import Presence

LIBRARY = (Path(__file__).parent / "functions" / "voketag_scan_v1.lua").read_text()
SCAN, PROBE = "voketag_scan_v1", "voketag_probe_v1"
MICROSECONDS = 1_000_000


@dataclass(frozen=True, slots=True)
class History:
    """Scans of a code so far, the one under way included if it is one; when the first was, None before it."""

    count: int
    first_at: datetime | None


class Counters:
    """Counts scans and keeps the budget of each address prefix, for all processes together.

    While Valkey is away nothing is counted and each process keeps the budgets on its own.
    """

    def __init__(self, pipeline: Pipeline, fallback: LocalLimiter, rate: Rate, presence: Presence) -> None:
        self._pipeline = pipeline
        self._fallback = fallback
        self._rate = rate
        self._presence = presence
        self._budget = (round(MICROSECONDS / rate.per_second), rate.burst)

    async def load(self) -> None:
        """Gives Valkey the functions. Raises ValkeyAwayError, ValkeyRefusedError."""
        await self._pipeline.call("FUNCTION", "LOAD", "REPLACE", LIBRARY)

    async def scan(self, product_id: bytes, prefix: str) -> History | None:
        """Counts a scan from an address prefix; None when Valkey is away. Raises RateLimited."""
        keys = (_counters_key(product_id), _budget_key(prefix))
        answer = await self._take(prefix, "FCALL", SCAN, 2, *keys, *self._budget)
        return None if answer is None else History(answer[1], _time(answer[2]))

    async def probe(self, prefix: str) -> None:
        """Takes a scan of something that is no code of ours from the caller's budget. Raises RateLimited."""
        await self._take(prefix, "FCALL", PROBE, 1, _budget_key(prefix), *self._budget)

    async def peek(self, product_id: bytes) -> History | None:
        """The history without a scan; None when Valkey is away."""
        answer = await self._asked("HMGET", _counters_key(product_id), "count", "first")
        if answer is None:
            return None
        count, first = answer
        return History(int(count or 0), _time(int(first)) if first else None)

    async def _take(self, prefix: str, *words: str | int) -> Sequence[int] | None:
        answer: Sequence[int] | None = await self._asked(*words)
        wait = await self._fallback.take(prefix, self._rate) if answer is None else answer[0] / MICROSECONDS
        if wait > 0:
            raise RateLimited(retry_after=wait, seconds=math.ceil(wait))
        return answer

    async def _asked(self, *words: str | int) -> Any:
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


def _counters_key(product_id: bytes) -> str:
    return f"scan:{{{product_id.hex()}}}"


def _budget_key(prefix: str) -> str:
    return f"scan:budget:{{{prefix}}}"


def _time(microseconds: int) -> datetime:
    return datetime.fromtimestamp(microseconds / MICROSECONDS, UTC)
