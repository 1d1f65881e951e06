"""A collector that SIGKILL ends in the middle of its first rows: `python -m tests.fakes.dying_collector STEP`.

The steps, in their order: held (the end of the log), appended, moved (how far a service was read), committed.
"""

import os
import signal
import sys
from collections.abc import Sequence
from typing import Any

import uvloop
from prometheus_client import CollectorRegistry

from admin.collector import Collector, CollectorMetrics, Pace
from admin.config import AuditSettings
from mesh import database
from mesh.clock import SystemClock
from mesh.config import load
from mesh.ledger import Ledger
from trust.auditlog import AuditEntry
from trust.ledger import State

STEPS = ("held", "appended", "moved", "committed")


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class DyingLedger(Ledger):
    async def hold(self, connection: Any) -> State:
        state = await super().hold(connection)
        if sys.argv[1] == "held":
            die()
        return state


class DyingCollector(Collector):
    async def _append(self, connection: Any, first: int, entries: Sequence[AuditEntry]) -> None:
        await super()._append(connection, first, entries)
        if sys.argv[1] == "appended":
            die()

    def _show(self, found: Any, entries: Sequence[AuditEntry]) -> None:
        die()


class DyingQueries:
    def __init__(self, queries: Any) -> None:
        self._queries = queries

    def __getattr__(self, name: str) -> Any:
        return getattr(self._queries, name)

    async def move_audit_cursor(self, connection: Any, **values: Any) -> None:
        await self._queries.move_audit_cursor(connection, **values)
        die()


async def main() -> None:
    settings = load(AuditSettings)
    pool = await database.connect(settings, schema="admin")
    metrics, ledger = CollectorMetrics(CollectorRegistry()), DyingLedger(settings.audit_origin)
    collector = DyingCollector(pool, ledger, SystemClock(), metrics=metrics, pace=Pace(every=0.05))
    if sys.argv[1] == "moved":
        collector._sql = DyingQueries(collector._sql)
    async with collector.going_on():
        await collector._pool.fetchval("SELECT pg_sleep(60)")


if __name__ == "__main__":
    uvloop.run(main())
