"""The server and the worker out of their parts."""

import asyncio
from random import Random
from typing import Any

from aiohttp import ThreadedResolver
from redis.asyncio import Redis
from voketag.factory.v1 import (
    account_pb2,
    account_pb2_grpc,
    factory_pb2,
    factory_pb2_grpc,
    label_pb2,
    label_pb2_grpc,
    lifecycle_pb2,
    lifecycle_pb2_grpc,
    table_pb2,
    table_pb2_grpc,
    webhook_pb2,
    webhook_pb2_grpc,
)
from voketag.mesh.v1 import queue_pb2, queue_pb2_grpc

from factory import tenants
from factory.account_service import AccountService
from factory.accounts import Accounts
from factory.addresses import any_address, public_address
from factory.api_keys import ApiKeys, Keys
from factory.building import Building
from factory.changes import Changes
from factory.codes import Codes, Turns
from factory.config import FactorySettings, WorkerSettings, secret_bytes
from factory.delivering import Delivering
from factory.events import Outbox
from factory.exports import Exports
from factory.finality import Finality
from factory.imports import Imports
from factory.label_service import LabelService
from factory.labels import Labels
from factory.lifecycle import Lifecycle
from factory.lifecycle_service import LifecycleService
from factory.maintenance import Maintenance
from factory.minting import Tokens, raw_uuid7
from factory.ordering import Orders
from factory.peers import AnchorClient
from factory.products import Products
from factory.quotas import Quota, Quotas
from factory.sending import Sender
from factory.service import FactoryService
from factory.signing import RootKey
from factory.slots import Slots
from factory.store import Store
from factory.table_imports import TableImports
from factory.table_service import TableService
from factory.tenants import EVERY
from factory.webhook_service import WebhookService
from factory.webhooks import Webhooks
from factory.weights import RiskWeights
from factory.worker import FactoryWorker
from mesh import database, valkey
from mesh.api_keys import ApiKeyAuthenticator
from mesh.client import peer
from mesh.clock import Clock, SystemClock, new_id
from mesh.identity import ServiceAuthenticator, ServiceTokens
from mesh.jobs import Jobs, Worker
from mesh.limits import LocalLimiter, SharedLimiter
from mesh.paging import PageTokens
from mesh.policy import FACTORY, SERVICE, USER
from mesh.queue_service import QueueService
from mesh.queues import Queues
from mesh.refusals import Refusals
from mesh.server import Server, ServerParts
from mesh.user_tokens import UserAuthenticator
from trust.token import Keyring

DELIVERIES_AT_ONCE = 64
BUILDS_GATHER_SECONDS, ERRANDS_GATHER_SECONDS = 0.02, 0.1


def server_parts(
    settings: FactorySettings, pool: Any, client: Redis, changes: Changes, *, calendar: Clock
) -> ServerParts:
    """What the server is made of; `calendar` says which day it is for quotas."""
    clock, store, jobs = SystemClock(), Store(pool), Jobs("factory")
    tokens = Tokens(Keyring.from_json(settings.keyring.get_secret_value()))
    pages = PageTokens(secret_bytes(settings.page_key.get_secret_value()))
    quotas = Quotas(store, calendar, Quota(settings.products_a_day, settings.concurrent_imports))
    slots = Slots(client, new_id, lease_seconds=settings.import_lease_seconds)
    making: dict[str, Any] = {"quotas": quotas, "new_id": new_id, "new_product_id": raw_uuid7}
    orders = Orders(store, changes, jobs, tokens, pages=pages, **making)
    imports = Imports(store, changes, jobs, tokens, slots=slots, **making)
    products = Products(store, tokens, pages)
    service = FactoryService(orders, imports, products, url_prefix=settings.public_url_prefix)
    turns, prefix, outbox = Turns(), settings.public_url_prefix, Outbox(store, jobs, clock, new_id=new_id)
    lifecycle = LifecycleService(orders, Lifecycle(store, outbox, pages, new_id=new_id), url_prefix=prefix)
    labels = LabelService(Codes(turns, url_prefix=prefix), Labels(store, tokens, turns, url_prefix=prefix))
    exports = Exports(store, tokens, url_prefix=settings.public_url_prefix)
    accounts = _accounts(settings, store, pages, quotas=quotas, slots=slots)

    queues = Queues("factory", jobs.table, lambda: store.transaction(EVERY), pages)
    webhooks = Webhooks(
        store,
        outbox,
        RootKey(secret_bytes(settings.webhook_root.get_secret_value())),
        clock,
        pages=pages,
        new_id=new_id,
        allow_private=settings.webhook_allow_private,
    )

    def on_stop() -> None:
        imports.close()
        exports.close()
        changes.close()

    return ServerParts(
        settings=settings,
        contracts=[factory_pb2, account_pb2, lifecycle_pb2, label_pb2, table_pb2, webhook_pb2, queue_pb2],
        register=[
            (factory_pb2_grpc.add_FactoryServiceServicer_to_server, service),
            (lifecycle_pb2_grpc.add_LifecycleServiceServicer_to_server, lifecycle),
            (label_pb2_grpc.add_LabelServiceServicer_to_server, labels),
            (account_pb2_grpc.add_AccountServiceServicer_to_server, accounts),
            (table_pb2_grpc.add_TableServiceServicer_to_server, TableService(TableImports(imports), exports)),
            (webhook_pb2_grpc.add_WebhookServiceServicer_to_server, WebhookService(webhooks)),
            (queue_pb2_grpc.add_QueueServiceServicer_to_server, QueueService(queues)),
        ],
        authenticators={
            USER: UserAuthenticator(settings.user_jwks, clock),
            FACTORY: ApiKeyAuthenticator(Keys(store).find, clock),
            SERVICE: ServiceAuthenticator(settings.jwks, "factory", clock),
        },
        limiter=SharedLimiter(client, LocalLimiter(clock)),
        checks={"PostgreSQL": lambda: database.check(pool)},
        tracing=settings.otlp_endpoint is not None,
        on_stop=on_stop,
        refusals=Refusals(pool, clock, new_id),
    )


def _accounts(
    settings: FactorySettings, store: Store, pages: PageTokens, *, quotas: Quotas, slots: Slots
) -> AccountService:
    root = secret_bytes(settings.api_key_root.get_secret_value())
    return AccountService(
        Accounts(store, pages, new_id=new_id),
        ApiKeys(store, pages, root=root, new_id=new_id),
        quotas=quotas,
        slots=slots,
        weights=RiskWeights(store, new_id=new_id),
    )


async def serve(settings: FactorySettings) -> None:
    """Serves until SIGTERM or SIGINT. Raises DependencyUnavailable when PostgreSQL or Valkey is away at start."""
    pool = await tenants.connect(settings)
    client = await valkey.connect(settings)
    changes = Changes(client)
    try:
        async with changes.told(heard=True):
            await Server(server_parts(settings, pool, client, changes, calendar=SystemClock())).run()
    finally:
        await client.aclose()
        await _close(pool)


async def work(settings: WorkerSettings) -> None:
    """Works until SIGTERM or SIGINT. Raises DependencyUnavailable when PostgreSQL or Valkey is away at start."""
    pool = await tenants.connect(settings)
    client = await valkey.connect(settings)
    tokens = ServiceTokens("factory", settings.service_key.get_secret_value(), SystemClock())
    channel = peer(settings.anchor_target, tokens=tokens, service="anchor")
    store, changes, anchor, clock = Store(pool), Changes(client), AnchorClient(channel), SystemClock()
    outbox = Outbox(store, Jobs("factory"), clock, new_id=new_id)
    building = Building(store, changes, Jobs("factory"), outbox, anchor, new_product_id=raw_uuid7)
    random, private = Random(), settings.webhook_allow_private  # noqa: S311 - spreads retries, keeps no secret
    rule = any_address if private else public_address
    sender = Sender(ThreadedResolver(), clock, rule=rule, allow_private=private)
    root = RootKey(secret_bytes(settings.webhook_root.get_secret_value()))
    delivering = Delivering(store, sender, root, clock, new_id=new_id, random=random)
    maintenance = Maintenance(store, Jobs("factory"), clock)
    # Errands wait for another service, deliveries for other people's servers, up to ten seconds each: no batch waits
    # for them, and neither for the other.
    kinds = (
        (building.handlers(), settings.concurrency, BUILDS_GATHER_SECONDS),
        (building.errands() | maintenance.handlers(), settings.concurrency, ERRANDS_GATHER_SECONDS),
        (delivering.handlers(), DELIVERIES_AT_ONCE, ERRANDS_GATHER_SECONDS),
    )
    workers = [
        Worker(
            settings,
            schema="factory",
            handlers=handlers,
            random=random,
            clock=clock,
            concurrency=concurrency,
            lease_seconds=settings.lease_seconds,
            gather_seconds=gather_seconds,
        )
        for handlers, concurrency, gather_seconds in kinds
    ]
    try:
        await FactoryWorker(changes, workers, Finality(store, changes, outbox, anchor)).run()
    finally:
        await sender.close()
        await channel.close()
        await client.aclose()
        await _close(pool)


async def _close(pool: Any) -> None:
    try:
        await asyncio.wait_for(pool.close(), 5)
    except TimeoutError:
        pool.terminate()
