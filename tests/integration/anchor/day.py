"""A day of anchoring in little time: ids as they would be made, and vacuum as it would run."""

import heapq
import secrets
from collections.abc import Iterator
from itertools import count
from random import Random
from uuid import UUID

import asyncpg

from trust.canonical import SubjectKind

BEGINNING = 1_800_000_000
"""Unix seconds."""
IMPORT_SECONDS = 30.0
"""From a batch's beginning, when it gets its id, to its root: on average, the times spread exponentially."""
AHEAD = 2
"""Minutes' worth of batches that are kept, so that those of one minute come in among those of the next."""
Row = tuple[UUID, UUID, int, int, bytes]
COLUMNS = ("submission_id", "subject_id", "kind", "size", "root")


def id_at(seconds: float) -> UUID:
    """A UUIDv7 (RFC 9562) of that time, as any of many processes could have made it."""
    random = secrets.randbits(74)
    return UUID(int=round(seconds * 1000) << 80 | 7 << 76 | random >> 62 << 64 | 2 << 62 | random & (1 << 62) - 1)


def minutes(roots: int, random: Random) -> Iterator[list[Row]]:
    """The submissions of one minute after the other, in the order in which they come, as SubmitRoot leaves them."""
    begun = (BEGINNING + place * 60 / roots for place in count())
    ready: list[tuple[float, float]] = []
    while True:
        while len(ready) < AHEAD * roots:
            seconds = next(begun)
            heapq.heappush(ready, (seconds + random.expovariate(1 / IMPORT_SECONDS), seconds))
        batches = [heapq.heappop(ready) for _ in range(roots)]
        yield [
            (id_at(submitted), id_at(made), SubjectKind.BATCH, 1000, secrets.token_bytes(32))
            for submitted, made in batches
        ]


class Autovacuum:
    """PostgreSQL's own looks once a minute at how many rows were written again; this one is told when one is over."""

    def __init__(self, owner: "asyncpg.Connection[asyncpg.Record]", table: str) -> None:
        self._owner = owner
        self._table = table
        self._dead = 0
        self._rows = 0
        self.runs = 0

    async def minute(self, rows: int) -> None:
        """So many rows came in it, and were written again."""
        self._rows += rows
        self._dead += rows
        if self._dead > await self._option("threshold", 50) + await self._option("scale_factor", 0.2) * self._rows:
            await self._owner.execute(f"VACUUM {self._table}")
            self._dead = 0
            self.runs += 1

    async def _option(self, name: str, default: float) -> float:
        query = """
            SELECT option_value::float8 FROM pg_class, pg_options_to_table(reloptions)
            WHERE pg_class.oid = $1::text::regclass AND option_name = 'autovacuum_vacuum_' || $2
        """
        value = await self._owner.fetchval(query, self._table, name)
        return default if value is None else float(value)
