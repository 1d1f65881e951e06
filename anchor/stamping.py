"""The stamper, put together."""

import asyncio
import signal
import sys

import structlog
from prometheus_client import REGISTRY

from anchor.authority import Authority
from anchor.config import StampSettings
from anchor.lease import Lease
from anchor.metrics import Metrics
from anchor.rounds import Rounds
from anchor.stamp_journal import StampJournal
from anchor.stamper import Stamper
from anchor.window import Windows
from mesh.clock import SystemClock, new_id
from mesh.database import connect
from mesh.telemetry import serve_metrics
from mesh.timestamps import Authorities

log = structlog.get_logger()


async def stamp(settings: StampSettings) -> None:
    """Stamps until SIGTERM or SIGINT. Exits with 1 and a message when there are no certificates."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    try:
        trusted = Authorities.from_pem(settings.tsa_certificates.read_bytes())
    except (OSError, ValueError) as error:
        log.error("cannot go on", error=f"{settings.tsa_certificates} is not certificates in PEM: {error}")
        sys.exit(1)
    serve_metrics(settings.metrics_host, settings.metrics_port)
    async with await connect(settings, schema="anchor") as pool:
        journal, metrics = StampJournal(pool, settings.target), Metrics(REGISTRY)
        authority = Authority(
            settings.tsa_url.get_secret_value(), trusted, SystemClock(), timeout_seconds=settings.tsa_timeout_seconds
        )
        windows = Windows.under(settings.policy, journal, settings.window_seconds, settings.window_roots)
        stamper = Stamper(journal, windows, authority, metrics)
        lease = Lease(journal, new_id(), settings.lease_seconds)
        await Rounds(stamper.round, metrics, settings.poll_seconds).run(lease, stop)
