"""The server out of its parts."""

import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import AsyncExitStack
from typing import Any

from voketag.scan.v1 import ledger_pb2, ledger_pb2_grpc, ruling_pb2, ruling_pb2_grpc, scan_pb2, scan_pb2_grpc

from mesh import client, database, valkey
from mesh.admission import Admission
from mesh.api_keys import ApiKeyAuthenticator
from mesh.clock import Clock, SystemClock, new_id, new_raw_id
from mesh.cluster import lanes
from mesh.identity import Authenticator, ServiceAuthenticator
from mesh.ledger import Ledger
from mesh.limits import Limiter, LocalLimiter, SharedLimiter
from mesh.paging import PageTokens
from mesh.policy import FACTORY, SERVICE, USER
from mesh.presence import Presence
from mesh.refusals import Refusals
from mesh.server import Raw, Server, ServerParts
from mesh.user_tokens import UserAuthenticator
from scan.audience import Audience
from scan.caller import Callers
from scan.card import Cards
from scan.cases import Cases
from scan.changes import Changes
from scan.chunks import Streams
from scan.config import ScanSettings
from scan.cookie import Cookie
from scan.counters import Counters
from scan.direct import Direct
from scan.document import Documents
from scan.feed import Feed
from scan.geography import FromDatabase, FromEdge, Geography, Nowhere
from scan.journal import Journal
from scan.judging import Judging
from scan.language import read_languages
from scan.ledger_service import LedgerService
from scan.log import Log
from scan.page import Page
from scan.peers import AnchorPeer
from scan.proof import Proofs
from scan.receipt import Receipts
from scan.reports import Reports
from scan.ruling_service import RulingService
from scan.rulings import Rulings
from scan.salts import Salts
from scan.service import ScanService
from scan.store import Store
from scan.tallies import Tallies
from scan.verify import Verifier
from scan.verify_call import METHOD, VerifyCall
from scan.watching import Watching
from trust.keyring import Keyring

VALKEY_SECONDS = 10.0
"""How long Valkey is waited for at start."""
Registered = Iterable[tuple[Callable[[Any, Any], None], object]]
"""Pairs of a generated `add_…Servicer_to_server` and its servicer."""


def geography(settings: ScanSettings) -> Geography:
    """What finds places. Raises ValueError when the database is none."""
    match settings.places:
        case "edge":
            return FromEdge()
        case "database":
            assert settings.places_database is not None
            return FromDatabase(settings.places_database)
        case _:
            return Nowhere()


def authenticators(settings: ScanSettings, store: Store, clock: Clock) -> dict[int, Authenticator]:
    """How people, factories and services prove who they are; public methods ask none of them."""
    return {
        USER: UserAuthenticator(settings.user_jwks, clock),
        FACTORY: ApiKeyAuthenticator(store.credentials, clock),
        SERVICE: ServiceAuthenticator(settings.jwks, "scan", clock),
    }


def registrations(service: ScanService, log: LedgerService, ruling: RulingService) -> Registered:
    """What is served."""
    return (
        (scan_pb2_grpc.add_ScanServiceServicer_to_server, service),
        (ledger_pb2_grpc.add_LedgerServiceServicer_to_server, log),
        (ruling_pb2_grpc.add_RulingServiceServicer_to_server, ruling),
    )


def server_parts(
    settings: ScanSettings,
    registered: Registered,
    limiter: Limiter,
    known: Mapping[int, Authenticator],
    *,
    raw: Mapping[str, Raw],
    on_stop: Callable[[], None],
    refusals: Refusals,
) -> ServerParts:
    """What the server is made of."""
    return ServerParts(
        settings=settings,
        contracts=(scan_pb2, ledger_pb2, ruling_pb2),
        register=registered,
        authenticators=known,
        limiter=limiter,
        tracing=settings.otlp_endpoint is not None,
        on_stop=on_stop,
        raw=raw,
        refusals=refusals,
    )


async def serve(settings: ScanSettings, keyring: Keyring) -> None:
    """Serves until SIGTERM or SIGINT. Raises DependencyUnavailable when PostgreSQL or Valkey is away at start."""
    clock = SystemClock()
    async with AsyncExitStack() as stack:
        pool = await database.connect(settings, schema="scan")
        stack.callback(pool.terminate)
        shared = valkey.spread_client(settings)
        stack.push_async_callback(shared.aclose)
        hot = lanes(settings, Presence("Valkey"), timeout=settings.counters_seconds)
        await hot.start(wait_seconds=VALKEY_SECONDS)
        stack.push_async_callback(hot.close)
        local, functions = LocalLimiter(clock), Presence("scan functions in Valkey")
        counters = Counters(hot, local, settings.budgets, clock, functions, shards=settings.journal_shards)
        await counters.load()
        store, changes = Store(pool), Changes(clock)
        salts = Salts(store, clock, Presence("the day's salt"))
        await salts.look()
        await stack.enter_async_context(salts.followed())
        await stack.enter_async_context(Feed(pool, changes, clock).followed())
        cards = Cards(store.cards, clock, Presence("PostgreSQL"), changes, limits=settings.card_limits)
        stack.push_async_callback(cards.close)
        anchor = AnchorPeer(await stack.enter_async_context(client.channel(settings.anchor_target)))
        receipts = Receipts(cards.find, store.tree, Proofs(anchor.proof, clock, capacity=settings.proof_capacity))
        ledger = Ledger(settings.ledger_origin)
        journal = Journal(ledger)
        direct = Direct(pool, journal, Judging(settings.weights), entropy=os.urandom)
        stack.push_async_callback(direct.close)
        verifier = Verifier(
            keyring, cards, counters, clock, direct=direct, weights=settings.weights, new_event_id=new_raw_id
        )
        tallies = Tallies(store, hot, shards=settings.journal_shards)
        streams, reports = Streams(verifier, clock), Reports(store, tallies, new_id=new_id)
        cases = Cases(store, tallies, PageTokens(settings.page_key.get_secret_value().encode()))
        await stack.enter_async_context(reports.requests_forgotten())
        watching = Watching(store, clock)

        def on_stop() -> None:
            streams.close()
            watching.close()

        callers = Callers(salts, geography(settings))
        documents = Documents(Page(), read_languages(), Cookie(secure=settings.cookie_secure, entropy=os.urandom))
        known = authenticators(settings, store, clock)
        audience = Audience(watching, Admission(known.values()))
        others: dict[str, Any] = {"cases": cases, "audience": audience, "callers": callers, "documents": documents}
        service = ScanService(verifier, streams, receipts, reports, **others)
        log = LedgerService(Log(pool, ledger, journal), verifier)
        ruling = RulingService(Rulings(store, tallies, keyring, new_id=new_id))
        parts = server_parts(
            settings,
            registrations(service, log, ruling),
            SharedLimiter(shared, local),
            known,
            raw={METHOD: VerifyCall(service, verifier, counters, callers)},
            on_stop=on_stop,
            refusals=Refusals(pool, clock, new_id),
        )
        await Server(parts).run()
