"""`python -m scan [serve|migrate]`."""

import asyncio
import sys
from contextlib import AsyncExitStack
from pathlib import Path

from voketag.scan.v1 import scan_pb2, scan_pb2_grpc

from mesh import client, database, processes, telemetry, valkey
from mesh.clock import SystemClock
from mesh.config import OwnerSettings, load
from mesh.limits import LocalLimiter, SharedLimiter
from mesh.migrate import migrate_as_owner
from mesh.pipeline import Pipeline
from mesh.presence import Presence
from mesh.server import Server, ServerParts
from scan.card import Cards
from scan.config import ScanSettings
from scan.counters import Counters
from scan.language import read_languages
from scan.page import Page
from scan.peers import AnchorPeer
from scan.proof import Proofs
from scan.receipt import Receipts
from scan.service import ScanService
from scan.store import Store
from scan.verify import Verifier
from trust.keyring import Keyring

SERVICE, MIGRATIONS = "scan", Path(__file__).parent / "migrations"


async def serve(index: int) -> None:
    """One process of the service."""
    settings, clock = load(ScanSettings), SystemClock()
    telemetry.configure(settings, SERVICE)
    keyring = Keyring.from_json(settings.keyring.get_secret_value())
    async with AsyncExitStack() as stack:
        pool = await database.connect(settings, schema=SERVICE)
        stack.callback(pool.terminate)
        shared = await valkey.connect(settings)
        stack.push_async_callback(shared.aclose)
        pipeline = Pipeline(settings, Presence("Valkey"))
        await pipeline.start()
        stack.push_async_callback(pipeline.close)
        local = LocalLimiter(clock)
        counters = Counters(pipeline, local, settings.scan_rate, Presence("scan functions in Valkey"))
        await counters.load()
        store = Store(pool)
        cards = Cards(store.cards, clock, Presence("PostgreSQL"), limits=settings.card_limits)
        stack.push_async_callback(cards.close)
        anchor = AnchorPeer(await stack.enter_async_context(client.channel(settings.anchor_target)))
        receipts = Receipts(store.tree, Proofs(anchor.proof, clock, capacity=settings.proof_capacity))
        service = ScanService(Verifier(keyring, cards, counters, clock), receipts, Page(), read_languages())
        telemetry.serve_metrics(settings.metrics_host, settings.metrics_port and settings.metrics_port + index)
        parts = ServerParts(
            settings=settings,
            contracts=(scan_pb2,),
            register=((scan_pb2_grpc.add_ScanServiceServicer_to_server, service),),
            authenticators={},
            limiter=SharedLimiter(shared, local),
            tracing=settings.otlp_endpoint is not None,
        )
        await Server(parts).run()


def main(arguments: list[str]) -> None:
    """Does what the first word says; serves without one."""
    match arguments:
        case [] | ["serve"]:
            processes.run(load(ScanSettings).processes, serve)
        case ["migrate"]:
            asyncio.run(migrate_as_owner(load(OwnerSettings), schema=SERVICE, folder=MIGRATIONS))
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
