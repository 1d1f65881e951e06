"""How jobs ended, by hour and queue: what rates of failure and the most frequent errors are told from.

A worker writes what it counted every two seconds; what one counted that dies in between is lost. Kept for two days.
"""

import asyncio
import re
from collections import Counter
from datetime import datetime, timedelta
from typing import Any

import structlog

from mesh.clock import Clock
from mesh.database import GONE

log = structlog.get_logger()
EVERY_SECONDS = 2.0
KEPT, CANCELLED_KEPT = timedelta(hours=48), timedelta(days=30)
ERROR_LENGTH, ERRORS = 200, 100
OTHERS = "others"
NUMBERS = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|0x[0-9a-f]+|\d+")
WRITE = """
INSERT INTO {schema}.job_tallies AS kept (hour, name, outcome, error, count, last_at)
SELECT date_trunc('hour', $5::timestamptz, 'UTC'), name, outcome, error, count, $5
FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[]) AS new (name, outcome, error, count)
ON CONFLICT (hour, name, outcome, error) DO UPDATE
SET count = kept.count + excluded.count, last_at = excluded.last_at
"""
FORGET = """
WITH old AS (DELETE FROM {schema}.job_tallies WHERE hour < $1)
DELETE FROM {table} WHERE status = 'canceled' AND updated < $2
"""


def kind_of(error: str) -> str:
    """An error without what differs from one to the next of its kind: numbers and ids are #."""
    return NUMBERS.sub("#", error)[:ERROR_LENGTH]


class Tallies:
    """What one worker counts of the queue at `table` in `schema`."""

    def __init__(self, schema: str, table: str, clock: Clock) -> None:
        self._write = WRITE.format(schema=schema)
        self._forget = FORGET.format(schema=schema, table=table)
        self._clock = clock
        self._counts: Counter[tuple[str, str, str]] = Counter()
        self._forgot: datetime | None = None

    def count(self, name: str, outcome: str, error: str = "") -> None:
        """A run of a job ended: `done`, `again`, `failed`, `held` or `cancelled`."""
        key = (name, outcome, kind_of(error))
        if key not in self._counts and len(self._counts) >= ERRORS:
            key = (name, outcome, OTHERS)
        self._counts[key] += 1

    async def write(self, pool: Any) -> None:
        """Writes what was counted since the last time. Raises what asyncpg does; then nothing is lost."""
        counts, self._counts = self._counts, Counter()
        try:
            if counts:
                columns = [list(column) for column in zip(*counts, strict=True)]
                await pool.execute(self._write, *columns, list(counts.values()), self._clock.now())
        except BaseException:
            self._counts.update(counts)
            raise
        now = self._clock.now()
        if self._forgot is None or now - self._forgot > timedelta(hours=1):
            await pool.execute(self._forget, now - KEPT, now - CANCELLED_KEPT)
            self._forgot = now

    async def follow(self, pool: Any) -> None:
        """Writes every few seconds until cancelled, and then once more."""
        try:
            while True:
                await asyncio.sleep(EVERY_SECONDS)
                await self._try(pool)
        finally:
            await self._try(pool)

    async def _try(self, pool: Any) -> None:
        try:
            await self.write(pool)
        except GONE as away:
            log.debug("outcomes of jobs are not written", reason=str(away))
