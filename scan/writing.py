"""The writer of the journal out of its parts."""

import asyncio
import os
import signal

import structlog
from prometheus_client import REGISTRY

from mesh import database, valkey
from scan.config import JournalSettings
from scan.event import Judge
from scan.journal import Journal, Ledger
from scan.metrics import Metrics
from scan.stream import Stream
from scan.writer import Pace, Writer

log = structlog.get_logger()
VALKEY_SECONDS = 2.0
"""A group is a large answer, and nobody waits for this process: it can be patient."""


async def journal(settings: JournalSettings, ledger: Ledger, judge: Judge) -> None:
    """Writes until SIGTERM or SIGINT. Raises DependencyUnavailable when PostgreSQL or Valkey is away at start."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    pool = await database.connect(settings, schema="scan")
    client = await valkey.connect(settings, answer_seconds=VALKEY_SECONDS)
    writer = Writer(
        pool,
        Stream(client),
        Journal(ledger),
        judge,
        shards=settings.journal_shards,
        entropy=os.urandom,
        metrics=Metrics(REGISTRY),
        pace=Pace(
            group=settings.journal_group, poll=settings.journal_poll_seconds, lease=settings.journal_lease_seconds
        ),
    )
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(writer.run(stop))
            group.create_task(writer.watch(stop))
            group.create_task(writer.keep_months(stop, ahead=settings.months_ahead, kept=settings.retention_months))
            log.info("writing")
    finally:
        await client.aclose()
        pool.terminate()
    log.info("stopped")
