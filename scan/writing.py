"""The writer of the journal and the signer of its ledger out of their parts."""

import asyncio
import os
import signal
from contextlib import AsyncExitStack

import structlog
from prometheus_client import REGISTRY

from mesh import client, database
from mesh.checkpoints import Checkpoints, LedgerMetrics, Turns
from mesh.clock import SystemClock
from mesh.cluster import lanes
from mesh.identity import ServiceTokens
from mesh.ledger import Ledger
from mesh.presence import Presence
from mesh.processes import spare_collector
from scan.config import JournalSettings
from scan.event import Judge
from scan.journal import Journal
from scan.journal import Ledger as JournalLedger
from scan.metrics import Metrics
from scan.peers import AnchorPeer, FactoryPeer
from scan.store import Store
from scan.stream import Stream
from scan.suspicion import Sender
from scan.tallies import Tallies
from scan.writer import Pace, Writer

log = structlog.get_logger()
START_SECONDS = 10.0
VALKEY_SECONDS = 2.0
"""A group is a large answer, and nobody waits for this process: it can be patient."""


async def journal(settings: JournalSettings, ledger: JournalLedger, judge: Judge) -> None:
    """Writes and signs until SIGTERM or SIGINT. Raises DependencyUnavailable when a server is away at start."""
    stop, clock = asyncio.Event(), SystemClock()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with AsyncExitStack() as stack:
        pool = await database.connect(settings, schema="scan")
        stack.callback(pool.terminate)
        streams = lanes(settings, Presence("Valkey"), timeout=VALKEY_SECONDS)
        await streams.start(wait_seconds=START_SECONDS)
        stack.push_async_callback(streams.close)
        tokens = ServiceTokens("scan", settings.service_key.get_secret_value(), clock)
        anchor = await stack.enter_async_context(client.peer(settings.anchor_target, tokens=tokens, service="anchor"))
        factory = await stack.enter_async_context(
            client.peer(settings.factory_target, tokens=tokens, service="factory")
        )
        store = Store(pool)
        tallies = Tallies(store, streams, shards=settings.journal_shards)
        sender = Sender(store, FactoryPeer(factory).tell, again=settings.suspicion_again_seconds)
        writer = Writer(
            pool,
            Stream(streams),
            Journal(ledger),
            judge,
            shards=settings.journal_shards,
            entropy=os.urandom,
            metrics=Metrics(REGISTRY),
            pace=Pace(
                group=settings.journal_group, poll=settings.journal_poll_seconds, lease=settings.journal_lease_seconds
            ),
        )
        checkpoints = Checkpoints(
            pool,
            Ledger(settings.ledger_origin),
            settings.ledger_signer,
            AnchorPeer(anchor).submit,
            clock=clock,
            metrics=LedgerMetrics(REGISTRY),
            turns=Turns(every=settings.ledger_checkpoint_seconds),
        )
        spare_collector()
        async with asyncio.TaskGroup() as group:
            group.create_task(writer.run(stop))
            group.create_task(writer.watch(stop))
            group.create_task(writer.keep_months(stop, ahead=settings.months_ahead, kept=settings.retention_months))
            group.create_task(checkpoints.run(stop))
            group.create_task(sender.run(stop))
            group.create_task(tallies.run(stop, every=settings.reports_told_seconds))
            group.create_task(sender.forget(stop))
            log.info("writing")
    log.info("stopped")
