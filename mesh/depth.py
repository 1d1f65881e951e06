"""How much there is to do in a queue, for Prometheus: what more workers are started by."""

import asyncio
from collections.abc import Iterable
from typing import Any

import asyncpg
import structlog
from prometheus_client import Gauge

from mesh.database import GONE

log = structlog.get_logger()
WAITING = Gauge("voketag_jobs_waiting", "Jobs that are due and that no worker has.", ["job"])
OLDEST = Gauge("voketag_jobs_oldest_seconds", "How long the first of them has been due.", ["job"])
RUNNING = Gauge("voketag_jobs_running", "Jobs that workers have, on every machine.", ["job"])
HELD = Gauge("voketag_jobs_held", "Jobs given up, kept with the status 'failed'.", ["job"])
EVERY_SECONDS = 5.0
SHARE = 50
"""Looking takes no more than one part in so many of the time, however long the queue is."""
COUNTS = """
SELECT entrypoint,
  count(*) FILTER (WHERE status = 'queued' AND execute_after <= now()) AS waiting,
  count(*) FILTER (WHERE status = 'picked') AS running,
  count(*) FILTER (WHERE status = 'failed') AS held,
  extract(epoch FROM now() - min(execute_after) FILTER (WHERE status = 'queued' AND execute_after <= now())) AS oldest
FROM {table}
WHERE entrypoint = ANY($1)
GROUP BY entrypoint
"""


class Depth:
    """Shows the queue's jobs of some names; every worker shows those of all."""

    def __init__(self, table: str, names: Iterable[str]) -> None:
        self._counts = COUNTS.format(table=table)
        self._names = list(names)

    async def show(self, pool: "asyncpg.Pool[Any]") -> None:
        """Sets the gauges to what is so now."""
        rows = {row["entrypoint"]: row for row in await pool.fetch(self._counts, self._names)}
        for name in self._names:
            row = rows.get(name, {})
            WAITING.labels(name).set(row.get("waiting", 0))
            RUNNING.labels(name).set(row.get("running", 0))
            HELD.labels(name).set(row.get("held", 0))
            OLDEST.labels(name).set(row.get("oldest") or 0)

    async def follow(self, pool: "asyncpg.Pool[Any]") -> None:
        """Shows them every few seconds until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            began = loop.time()
            try:
                await self.show(pool)
            except GONE as away:
                log.debug("jobs are not counted", reason=str(away))
            await asyncio.sleep(max(EVERY_SECONDS, SHARE * (loop.time() - began)))
