"""The server out of its parts."""

from contextlib import AsyncExitStack

from voketag.scan.v1 import scan_pb2, scan_pb2_grpc

from mesh import client, database, valkey
from mesh.clock import SystemClock
from mesh.limits import LocalLimiter, SharedLimiter
from mesh.pipeline import Pipeline
from mesh.presence import Presence
from mesh.server import Server, ServerParts
from scan.card import Cards
from scan.changes import Changes
from scan.config import ScanSettings
from scan.counters import Counters
from scan.feed import Feed
from scan.language import read_languages
from scan.page import Page
from scan.peers import AnchorPeer
from scan.proof import Proofs
from scan.receipt import Receipts
from scan.service import ScanService
from scan.store import Store
from scan.verify import Verifier
from trust.keyring import Keyring


async def serve(settings: ScanSettings, keyring: Keyring) -> None:
    """Serves until SIGTERM or SIGINT. Raises DependencyUnavailable when PostgreSQL or Valkey is away at start."""
    clock = SystemClock()
    async with AsyncExitStack() as stack:
        pool = await database.connect(settings, schema="scan")
        stack.callback(pool.terminate)
        shared = await valkey.connect(settings)
        stack.push_async_callback(shared.aclose)
        pipeline = Pipeline(settings, Presence("Valkey"))
        await pipeline.start()
        stack.push_async_callback(pipeline.close)
        local = LocalLimiter(clock)
        counters = Counters(pipeline, local, settings.scan_rate, Presence("scan functions in Valkey"))
        await counters.load()
        store, changes = Store(pool), Changes(clock)
        await stack.enter_async_context(Feed(pool, changes, clock).followed())
        cards = Cards(store.cards, clock, Presence("PostgreSQL"), changes, limits=settings.card_limits)
        stack.push_async_callback(cards.close)
        anchor = AnchorPeer(await stack.enter_async_context(client.channel(settings.anchor_target)))
        receipts = Receipts(store.tree, Proofs(anchor.proof, clock, capacity=settings.proof_capacity))
        service = ScanService(Verifier(keyring, cards, counters, clock), receipts, Page(), read_languages())
        parts = ServerParts(
            settings=settings,
            contracts=(scan_pb2,),
            register=((scan_pb2_grpc.add_ScanServiceServicer_to_server, service),),
            authenticators={},
            limiter=SharedLimiter(shared, local),
            tracing=settings.otlp_endpoint is not None,
        )
        await Server(parts).run()
