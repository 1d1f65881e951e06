"""Endpoints of factories: registered, rotated, disabled, tested; and the log of what was delivered to them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from factory.addresses import refusal
from factory.events import EventType, Outbox, Suspicion, fraud_suspected, webhook_test
from factory.signing import RootKey
from factory.store import Connection, Store
from factory.tenants import EVERY
from mesh import audit, idempotency
from mesh.clock import Clock, IdSource
from mesh.errors import DeliveryNotFound, EndpointNotFound, EndpointRefused, ProductNotFound
from mesh.idempotency import RequestKey
from mesh.paging import PageTokens

ENDPOINTS = 20
"""Endpoints of a factory that are not disabled, at most."""

PAGE_SIZE = 50
ATTEMPTS = 20
"""Attempts that are shown of a delivery, at most."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A URL that events go to; no `event_types` means all. `disable_reason` is '' while it is not disabled."""

    factory_id: UUID
    endpoint_id: UUID
    url: str
    event_types: frozenset[EventType]
    version: int
    public_key: str
    created_at: datetime
    rotated_at: datetime | None
    disabled_at: datetime | None
    disable_reason: str


@dataclass(frozen=True, slots=True)
class Attempt:
    """One POST; `status` None with the class of the error where none came."""

    attempted_at: datetime
    status: int | None
    error: str
    duration_ms: int
    answer: str


@dataclass(frozen=True, slots=True)
class Delivery:
    """An event on its way to one endpoint; the latest attempts, newest first."""

    delivery_id: UUID
    endpoint_id: UUID
    event_id: UUID
    event_type: EventType
    state: str
    next_attempt_at: datetime | None
    created_at: datetime
    attempts: Sequence[Attempt]


@dataclass(frozen=True, slots=True)
class EndpointPage:
    """Endpoints, newest first, and the token of the next page or ''."""

    endpoints: list[Endpoint]
    next_page_token: str


@dataclass(frozen=True, slots=True)
class DeliveryPage:
    """Deliveries, newest first, and the token of the next page or ''."""

    deliveries: list[Delivery]
    next_page_token: str


class Webhooks:
    """The webhooks of factories. Another factory's endpoint or delivery is as unknown as none."""

    def __init__(
        self,
        store: Store,
        outbox: Outbox,
        root: RootKey,
        clock: Clock,
        *,
        pages: PageTokens,
        new_id: IdSource,
        allow_private: bool,
    ) -> None:
        self._store = store
        self._outbox = outbox
        self._root = root
        self._clock = clock
        self._pages = pages
        self._new_id = new_id
        self._allow_private = allow_private

    async def create(
        self, factory_id: UUID, request: RequestKey, url: str, event_types: frozenset[EventType]
    ) -> tuple[Endpoint, str]:
        """The endpoint with its secret. Raises EndpointRefused, RequestIdReused."""
        if why := refusal(url, allow_private=self._allow_private):
            raise EndpointRefused(why=why)
        sql = self._store.sql
        async with self._store.transaction(factory_id) as connection:
            await sql.lock_factory(connection, factory_id=factory_id)
            new = self._new_id()
            first = await idempotency.claim(connection, request, new)
            if first is not None:
                return self._shown(await self._endpoint(connection, factory_id, first))
            if await sql.count_endpoints(connection, factory_id=factory_id) >= ENDPOINTS:
                raise EndpointRefused(why=f"there are {ENDPOINTS} already")
            row = await sql.insert_endpoint(
                connection, factory_id=factory_id, endpoint_id=new, url=url, event_types=sorted(event_types)
            )
            # Some put what proves them into the query.
            place, asks, _ = url.partition("?")
            shown = f"{place}?{audit.MASKED}" if asks else place
            detail = {"url": shown, "event_types": sorted(event_types)}
            await audit.record(connection, resource=f"endpoint/{new}", request_id=request.request_id, detail=detail)
            return self._shown(self._to_endpoint(row))

    async def list(self, factory_id: UUID, *, page_size: int, page_token: str) -> EndpointPage:
        """A page of at most `page_size` endpoints, 0 meaning 50. Raises PageTokenInvalid."""
        scope = f"endpoints:{factory_id}"
        before = UUID(self._pages.decode(page_token, scope=scope)) if page_token else None
        size = page_size or PAGE_SIZE
        async with self._store.connection(factory_id) as connection:
            rows = self._store.sql.select_endpoints(
                connection, factory_id=factory_id, before=before, page_size=size + 1
            )
            found = [self._to_endpoint(row) async for row in rows]
        page = found[:size]
        more = self._pages.encode(str(page[-1].endpoint_id), scope=scope) if len(found) > size else ""
        return EndpointPage(page, more)

    async def rotate(self, factory_id: UUID, request: RequestKey, endpoint_id: UUID) -> tuple[Endpoint, str]:
        """The endpoint with its new secret. Raises EndpointNotFound, RequestIdReused."""
        async with self._store.transaction(factory_id) as connection:
            before = await self._endpoint(connection, factory_id, endpoint_id)
            if await idempotency.claim(connection, request, endpoint_id) is not None:
                return self._shown(await self._endpoint(connection, factory_id, endpoint_id))
            row = await self._store.sql.rotate_endpoint(
                connection, factory_id=factory_id, endpoint_id=endpoint_id, retired_at=self._clock.now()
            )
            resource, detail = f"endpoint/{endpoint_id}", {"version": audit.change(before.version, row["version"])}
            await audit.record(connection, resource=resource, request_id=request.request_id, detail=detail)
            return self._shown(self._to_endpoint(row))

    async def disable(self, factory_id: UUID, request: RequestKey, endpoint_id: UUID) -> Endpoint:
        """The endpoint, disabled. Raises EndpointNotFound, RequestIdReused."""
        async with self._store.transaction(factory_id) as connection:
            await self._endpoint(connection, factory_id, endpoint_id)
            first = await idempotency.claim(connection, request, endpoint_id)
            row = None
            if first is None:
                row = await self._store.sql.disable_endpoint(
                    connection, factory_id=factory_id, endpoint_id=endpoint_id, disable_reason="REQUESTED"
                )
            if row is None:
                audit.replayed()
                return await self._endpoint(connection, factory_id, endpoint_id)
            resource, detail = f"endpoint/{endpoint_id}", {"disable_reason": audit.change("", "REQUESTED")}
            await audit.record(connection, resource=resource, request_id=request.request_id, detail=detail)
            return self._to_endpoint(row)

    async def test(self, factory_id: UUID, request: RequestKey, endpoint_id: UUID) -> Delivery:
        """The delivery of a test. Raises EndpointNotFound, RequestIdReused."""
        async with self._store.transaction(factory_id) as connection:
            await self._endpoint(connection, factory_id, endpoint_id)
            event = webhook_test(factory_id, endpoint_id)
            delivery_id = self._new_id()
            first = await idempotency.claim(connection, request, delivery_id)
            if first is None:
                await self._outbox.publish_to(connection, endpoint_id, event, delivery_id)
                resource, detail = f"endpoint/{endpoint_id}", {"delivery_id": delivery_id}
                await audit.record(connection, resource=resource, request_id=request.request_id, detail=detail)
            return await self._delivery(connection, factory_id, first or delivery_id)

    async def deliveries(
        self, factory_id: UUID, endpoint_id: UUID, *, state: str | None, page_size: int, page_token: str
    ) -> DeliveryPage:
        """A page of at most `page_size` deliveries, 0 meaning 50. Raises EndpointNotFound, PageTokenInvalid."""
        scope = f"deliveries:{factory_id}:{endpoint_id}:{state}"
        before = UUID(self._pages.decode(page_token, scope=scope)) if page_token else None
        size = page_size or PAGE_SIZE
        async with self._store.connection(factory_id) as connection:
            await self._endpoint(connection, factory_id, endpoint_id)
            rows = self._store.sql.select_deliveries(
                connection,
                factory_id=factory_id,
                endpoint_id=endpoint_id,
                delivery_id=None,
                before=before,
                state=state,
                page_size=size + 1,
                attempts=ATTEMPTS,
            )
            found = [_to_delivery(row) async for row in rows]
        page = found[:size]
        more = self._pages.encode(str(page[-1].delivery_id), scope=scope) if len(found) > size else ""
        return DeliveryPage(page, more)

    async def replay(self, factory_id: UUID, request: RequestKey, delivery_id: UUID) -> Delivery:
        """The delivery, about to be made again. Raises DeliveryNotFound, RequestIdReused."""
        async with self._store.transaction(factory_id) as connection:
            await self._delivery(connection, factory_id, delivery_id)
            if await idempotency.claim(connection, request, delivery_id) is None:
                number = await self._store.sql.replay_delivery(
                    connection, factory_id=factory_id, delivery_id=delivery_id
                )
                await self._outbox.enqueue(connection, factory_id, delivery_id, number)
                resource, detail = f"delivery/{delivery_id}", {"round": number}
                await audit.record(connection, resource=resource, request_id=request.request_id, detail=detail)
            return await self._delivery(connection, factory_id, delivery_id)

    async def raise_fraud(self, request: RequestKey, suspicion: Suspicion) -> UUID:
        """The id under which the product's factory is told. Raises ProductNotFound, RequestIdReused."""
        async with self._store.connection(EVERY) as connection:
            owner = await self._store.sql.select_owner(connection, product_id=suspicion.product_id)
        if owner is None:
            raise ProductNotFound
        async with self._store.transaction(owner["factory_id"]) as connection:
            new = self._new_id()
            first = await idempotency.claim(connection, request, new)
            if first is not None:
                return first
            event = fraud_suspected(owner["factory_id"], owner["batch_id"], suspicion)
            await self._outbox.publish(connection, [event], event_id=new)
            detail = {"risk_score": suspicion.risk_score, "verdict": suspicion.verdict, "event_id": new}
            resource = f"product/{suspicion.product_id}"
            await audit.record(connection, resource=resource, request_id=request.request_id, detail=detail)
            return new

    async def _endpoint(self, connection: Connection, factory_id: UUID, endpoint_id: UUID) -> Endpoint:
        row = await self._store.sql.select_endpoint(connection, factory_id=factory_id, endpoint_id=endpoint_id)
        if row is None:
            raise EndpointNotFound(endpoint_id=endpoint_id)
        return self._to_endpoint(row)

    async def _delivery(self, connection: Connection, factory_id: UUID, delivery_id: UUID) -> Delivery:
        rows = self._store.sql.select_deliveries(
            connection,
            factory_id=factory_id,
            endpoint_id=None,
            delivery_id=delivery_id,
            before=None,
            state=None,
            page_size=1,
            attempts=ATTEMPTS,
        )
        async for row in rows:
            return _to_delivery(row)
        raise DeliveryNotFound(delivery_id=delivery_id)

    def _shown(self, endpoint: Endpoint) -> tuple[Endpoint, str]:
        return endpoint, self._root.keys(endpoint.endpoint_id, endpoint.version).secret_text

    def _to_endpoint(self, row: Any) -> Endpoint:
        return Endpoint(
            factory_id=row["factory_id"],
            endpoint_id=row["endpoint_id"],
            url=row["url"],
            event_types=frozenset(map(EventType, row["event_types"])),
            version=row["version"],
            public_key=self._root.keys(row["endpoint_id"], row["version"]).public_text,
            created_at=row["created_at"],
            rotated_at=row["retired"][0] if row["retired"] else None,
            disabled_at=row["disabled_at"],
            disable_reason=row["disable_reason"] or "",
        )


def _to_delivery(row: Any) -> Delivery:
    return Delivery(
        delivery_id=row["delivery_id"],
        endpoint_id=row["endpoint_id"],
        event_id=row["event_id"],
        event_type=EventType(row["type"]),
        state=row["state"],
        next_attempt_at=row["next_attempt_at"],
        created_at=row["created_at"],
        attempts=[Attempt(*attempt) for attempt in row["attempts"]],
    )
