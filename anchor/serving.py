"""The server out of its parts. It holds no chain key."""

import hashlib
from typing import TYPE_CHECKING

from voketag.anchor.v1 import anchor_pb2, anchor_pb2_grpc

from anchor.changes import Changes
from anchor.config import ServeSettings
from anchor.intake import Intake
from anchor.listing import Listing
from anchor.node import Nodes
from anchor.proofs import Proofs
from anchor.service import AnchorService
from anchor.store import Store
from anchor.watch import Watch
from mesh.clock import SystemClock, new_id
from mesh.database import check, connect
from mesh.identity import ServiceAuthenticator
from mesh.limits import LocalLimiter
from mesh.paging import PageTokens
from mesh.policy import SERVICE, USER
from mesh.refusals import Refusals
from mesh.server import Server, ServerParts
from mesh.user_tokens import UserAuthenticator

if TYPE_CHECKING:
    from anchor.reader import EvmReader


async def serve(settings: ServeSettings) -> None:
    """Serves until SIGTERM or SIGINT. Raises DependencyUnavailable when PostgreSQL is away at start."""
    pool = await connect(settings, schema="anchor")
    clock, store = SystemClock(), Store(pool, new_id)
    changes = Changes(pool, poll_seconds=settings.watch_poll_seconds, watchers=settings.watchers)
    intake = Intake(store)
    # Every replica holds the service's key, so that a page begun at one goes on at another.
    page_key = hashlib.sha256(b"voketag/anchor/pages/v1" + settings.service_key.get_secret_value().encode()).digest()
    listing = Listing(store, PageTokens(page_key))
    readers = readers_of(settings)
    service = AnchorService(
        intake, store, proofs=Proofs(store), watch=Watch(store, changes), listing=listing, nodes=Nodes(readers)
    )
    parts = ServerParts(
        settings=settings,
        contracts=[anchor_pb2],
        register=[(anchor_pb2_grpc.add_AnchorServiceServicer_to_server, service)],
        authenticators={
            USER: UserAuthenticator(settings.user_jwks, clock),
            SERVICE: ServiceAuthenticator(settings.jwks, "anchor", clock),
        },
        limiter=LocalLimiter(clock),
        checks={"PostgreSQL": lambda: check(pool)},
        tracing=settings.otlp_endpoint is not None,
        on_stop=changes.close,
        refusals=Refusals(pool, clock, new_id),
    )
    async with pool, changes.listening():
        await Server(parts).run()
        await intake.close()
        for reader in readers.values():
            await reader.close()


def readers_of(settings: ServeSettings) -> "dict[str, EvmReader]":
    """The nodes that are read from, by target: without any, their library, half a second and 60 MB, is not loaded."""
    if not settings.read_urls:
        return {}
    from anchor.evm import web3_over_http
    from anchor.reader import EvmReader

    seconds = settings.chain_read_seconds
    return {target: EvmReader(web3_over_http(url, seconds)) for target, url in settings.read_urls.items()}
