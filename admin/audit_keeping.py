"""The keeping of the audit log out of its parts: a collector, and a signer whose checkpoints are anchored."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
from prometheus_client import CollectorRegistry

from admin.collector import Collector, CollectorMetrics, Pace
from admin.config import AdminSettings
from admin.peers import AnchorPeer
from admin.store import Store
from mesh import client
from mesh.checkpoints import Checkpoints, LedgerMetrics, Turns
from mesh.clock import Clock
from mesh.database import Connection
from mesh.identity import ServiceTokens
from mesh.ledger import Ledger
from mesh.tasks import end


@asynccontextmanager
async def audit_keeping(
    settings: AdminSettings, pool: "asyncpg.Pool[Any]", clock: Clock, registry: CollectorRegistry
) -> AsyncIterator[None]:
    """Collects and signs until the block ends, whichever of the servers it depends on come and go."""
    ledger, sql = Ledger(settings.audit_origin), Store.queries()
    pace = Pace(every=settings.audit_collect_seconds)
    collector = Collector(pool, ledger, clock, metrics=CollectorMetrics(registry), pace=pace)
    tokens = ServiceTokens("admin", settings.service_key.get_secret_value(), clock)

    async def news(connection: Connection, signed: int) -> bool:
        return bool(await sql.audit_is_news(connection, signed=signed))

    async with client.peer(settings.anchor_target, tokens=tokens, service="anchor") as anchor, collector.going_on():
        checkpoints = Checkpoints(
            pool,
            ledger,
            settings.audit_signer,
            AnchorPeer(anchor).submit,
            clock=clock,
            metrics=LedgerMetrics(registry),
            turns=Turns(every=settings.audit_checkpoint_seconds),
            due=news,
        )
        signing = asyncio.create_task(checkpoints.run(asyncio.Event()))
        try:
            yield
        finally:
            await end(signing)
