"""The counts of a product's reports where its scans read them: in Valkey, beside its other counts.

The table is the truth. A report that was taken, or a case that was decided, is told after the commit; whoever dies in
between, a Valkey that was away or lost what it had, and two who tell at once in the wrong order, are all mended by the
next round over every product that was reported.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Protocol
from uuid import UUID

import structlog

from mesh import tasks
from mesh.errors import DependencyUnavailable
from mesh.pipeline import Lanes, ValkeyError, ValkeyRefusedError
from scan.counters import LIBRARY
from scan.counts import Counts
from scan.factors import Reports
from scan.shard import REPORT, product_key, shard_of
from scan.stream import hash_tag

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

    def __init__(self, source: Source, lanes: Lanes, *, shards: int = 1) -> None:
        self._source = source
        self._lanes = lanes
        self._shards = shards

    async def tell(self, product_id: UUID) -> None:
        """Tells the reports on a product as they are now. What cannot be told now is told by the next round."""
        try:
            found = await self._source.report_tallies([product_id])
            await self._write(product_id, found.get(product_id, NONE))
        except (ValkeyError, DependencyUnavailable) as error:
            log.warning("reports are told later", product_id=str(product_id), reason=str(error))

    async def mend(self) -> int:
        """One round: how many products Valkey had wrong. Raises ValkeyError, DependencyUnavailable.

        A shard that is away does not keep the others from theirs.
        """
        mended, after, away = 0, NOBODY, None
        while page := await self._source.reported_products(after, PAGE):
            after = page[-1]
            found = await self._source.report_tallies(page)
            for shard in range(self._shards):
                mine = [product_id for product_id in page if shard_of(product_id.bytes, self._shards) == shard]
                try:
                    mended += await self._mend_shard(shard, mine, found)
                except ValkeyError as error:
                    away = error
        if away is not None:
            raise away
        return mended

    async def run(self, stop: asyncio.Event, *, every: float) -> None:
        """Rounds until `stop` is set, through any absence."""
        while not stop.is_set():
            try:
                if mended := await self.mend():
                    log.info("reports told", products=mended)
            except (ValkeyError, DependencyUnavailable) as error:
                log.warning("reports are not told", reason=str(error))
            except Exception:
                log.exception("reports cannot be told")
            await tasks.pause(stop, every)

    async def _mend_shard(self, shard: int, product_ids: Sequence[UUID], found: Mapping[UUID, Reports]) -> int:
        if not product_ids:
            return 0
        keys = [product_key(product_id.bytes, shard) for product_id in product_ids]
        values = await self._lanes.at(hash_tag(shard)).call("MGET", *keys)
        wrong = [
            product_id
            for product_id, value in zip(product_ids, values, strict=True)
            if Counts.kept(0, value, None).reports != found.get(product_id, NONE)
        ]
        for product_id in wrong:
            await self._write(product_id, found.get(product_id, NONE))
        return len(wrong)

    async def _write(self, product_id: UUID, reports: Reports) -> None:
        shard = shard_of(product_id.bytes, self._shards)
        lane, key = self._lanes.at(hash_tag(shard)), product_key(product_id.bytes, shard)
        words = "FCALL", REPORT, 1, key, reports.open, reports.confirmed
        try:
            await lane.call(*words)
        except ValkeyRefusedError as error:
            if "Function not found" not in str(error):
                raise
            await self._lanes.everywhere("FUNCTION", "LOAD", "REPLACE", LIBRARY)
            await lane.call(*words)
