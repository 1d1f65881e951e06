"""The counts of a product's reports where its scans read them: in Valkey, beside its other counts.

The table is the truth. A report that was taken, or a case that was decided, is told after the commit; whoever dies in
between, a Valkey that was away or lost what it had, and two who tell at once in the wrong order, are all mended by the
next round over every product that was reported.
"""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Protocol
from uuid import UUID

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError

from mesh.errors import DependencyUnavailable
from scan.counters import LIBRARY, REPORT, product_key
from scan.counts import Counts
from scan.factors import Reports

log = structlog.get_logger()
PAGE = 500
NOBODY = UUID(int=0)
NONE = Reports(0, 0)


class Source(Protocol):
    """The table. Everything raises DependencyUnavailable."""

    async def report_tallies(self, product_ids: Sequence[UUID]) -> Mapping[UUID, Reports]:
        """The reports on those of the products that have any."""
        ...

    async def reported_products(self, after: UUID, count: int) -> Sequence[UUID]:
        """The next products that were ever reported, by id."""
        ...


class Tallies:
    """Tells Valkey."""

    def __init__(self, source: Source, client: Redis) -> None:
        self._source = source
        self._client = client

    async def tell(self, product_id: UUID) -> None:
        """Tells the reports on a product as they are now. What cannot be told now is told by the next round."""
        try:
            found = await self._source.report_tallies([product_id])
            await self._write(product_id, found.get(product_id, NONE))
        except (RedisError, OSError, DependencyUnavailable) as error:
            log.warning("reports are told later", product_id=str(product_id), reason=str(error))

    async def mend(self) -> int:
        """One round: how many products Valkey had wrong. Raises RedisError, DependencyUnavailable."""
        mended, after = 0, NOBODY
        while page := await self._source.reported_products(after, PAGE):
            after = page[-1]
            found = await self._source.report_tallies(page)
            values: Any = await self._client.mget([product_key(product_id.bytes) for product_id in page])
            for product_id, value in zip(page, values, strict=True):
                known = found.get(product_id, NONE)
                if Counts.kept(0, value, None).reports != known:
                    await self._write(product_id, known)
                    mended += 1
        return mended

    async def run(self, stop: asyncio.Event, *, every: float) -> None:
        """Rounds until `stop` is set, through any absence."""
        while not stop.is_set():
            try:
                if mended := await self.mend():
                    log.info("reports told", products=mended)
            except (RedisError, OSError, DependencyUnavailable) as error:
                log.warning("reports are not told", reason=str(error))
            except Exception:
                log.exception("reports cannot be told")
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), every)

    async def _write(self, product_id: UUID, reports: Reports) -> None:
        words: tuple[Any, ...] = REPORT, 1, product_key(product_id.bytes), reports.open, reports.confirmed
        try:
            await self._client.fcall(*words)
        except ResponseError as error:
            if "Function not found" not in str(error):
                raise
            await self._client.function_load(LIBRARY, replace=True)
            await self._client.fcall(*words)
