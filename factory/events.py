"""What factories' systems are told: events in the transaction of what they tell, a delivery to each endpoint."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID

import orjson

from factory.batch import Batch
from factory.store import Connection, Store
from mesh.clock import Clock, IdSource
from mesh.jobs import Jobs

DELIVER = "webhook.deliver"
SOURCE = "https://voketag.com/factories/"


class EventType(StrEnum):
    """The `type` of an event."""

    BATCH_COMPLETED = "batch.completed"
    BATCH_FAILED = "batch.failed"
    ANCHOR_FINAL = "anchor.final"
    PRODUCT_STATE_CHANGED = "product.state_changed"
    FRAUD_SUSPECTED = "fraud.suspected"
    WEBHOOK_TEST = "webhook.test"


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to a factory; `subject` is `kind/id`, `data` as JSON, 60 KiB at most."""

    factory_id: UUID
    type: EventType
    subject: str
    data: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Suspicion:
    """What scans make of a product; `risk_score` from 0 to 100."""

    product_id: UUID
    risk_score: int
    verdict: str
    message_codes: Sequence[str]


def batch_completed(batch: Batch) -> Event:
    """The batch is COMPLETED."""
    data = {"batchId": batch.batch_id, "name": batch.name, "productCount": batch.product_count, "root": _hex(batch)}
    return Event(batch.factory_id, EventType.BATCH_COMPLETED, f"batch/{batch.batch_id}", data)


def batch_failed(batch: Batch) -> Event:
    """The batch is FAILED."""
    data = {"batchId": batch.batch_id, "name": batch.name, "failure": batch.failure}
    return Event(batch.factory_id, EventType.BATCH_FAILED, f"batch/{batch.batch_id}", data)


def anchor_final(batch: Batch) -> Event:
    """The root of a COMPLETED batch stands on a chain."""
    assert batch.anchor is not None
    data = {
        "batchId": batch.batch_id,
        "root": _hex(batch),
        "chainId": batch.anchor.chain_id,
        "contract": batch.anchor.contract,
        "transaction": batch.anchor.transaction,
        "blockNumber": batch.anchor.block_number,
    }
    return Event(batch.factory_id, EventType.ANCHOR_FINAL, f"batch/{batch.batch_id}", data)


def completions(batches: Iterable[Batch]) -> list[Event]:
    """Both events of each batch that was COMPLETED."""
    return [event for batch in batches for event in (batch_completed(batch), anchor_final(batch))]


@dataclass(frozen=True, slots=True)
class Moved:
    """What a committed stretch of a change made of products: its ids are known when the products were listed."""

    change_id: UUID
    batch_id: UUID | None
    to_state: str
    changed: int
    unchanged: int
    refused: int
    product_ids: Sequence[UUID] | None


def product_state_changed(factory_id: UUID, moved: Moved) -> Event:
    """Products changed their state together."""
    data: dict[str, object] = {
        "changeId": moved.change_id,
        "toState": moved.to_state,
        "changedCount": moved.changed,
        "unchangedCount": moved.unchanged,
        "refusedCount": moved.refused,
    }
    if moved.batch_id is not None:
        data["batchId"] = moved.batch_id
    if moved.product_ids is not None:
        data["productIds"] = sorted(moved.product_ids)
    return Event(factory_id, EventType.PRODUCT_STATE_CHANGED, f"product_change/{moved.change_id}", data)


def fraud_suspected(factory_id: UUID, batch_id: UUID, suspicion: Suspicion) -> Event:
    """Scans of a product look like fraud."""
    data = {
        "productId": suspicion.product_id,
        "batchId": batch_id,
        "riskScore": suspicion.risk_score,
        "verdict": suspicion.verdict,
        "messageCodes": list(suspicion.message_codes),
    }
    return Event(factory_id, EventType.FRAUD_SUSPECTED, f"product/{suspicion.product_id}", data)


def webhook_test(factory_id: UUID, endpoint_id: UUID) -> Event:
    """Somebody asked for a test of an endpoint."""
    data = {"endpointId": endpoint_id}
    return Event(factory_id, EventType.WEBHOOK_TEST, f"endpoint/{endpoint_id}", data)


def delivery_key(factory_id: UUID, delivery_id: UUID, round_number: int) -> bytes:
    """The payload of a delivery's job."""
    return factory_id.bytes + delivery_id.bytes + round_number.to_bytes(4)


class Outbox:
    """Writes events with what they tell. A factory without endpoints costs one look at an index."""

    def __init__(self, store: Store, jobs: Jobs, clock: Clock, *, new_id: IdSource) -> None:
        self._store = store
        self._jobs = jobs
        self._clock = clock
        self._new_id = new_id

    async def publish(self, connection: Connection, events: Iterable[Event], *, event_id: UUID | None = None) -> None:
        """Adds events, of any factories, in the transaction under way on the connection; one may bring its id."""
        told = list(events)
        if not told:
            return
        factories = list({event.factory_id for event in told})
        rows = self._store.sql.select_listening(connection, factory_ids=factories)
        listening = {row["factory_id"] async for row in rows}
        heard = [(event, event_id or self._new_id()) for event in told if event.factory_id in listening]
        if not heard:
            return
        deliveries = self._store.sql.insert_events(
            connection,
            factory_ids=[event.factory_id for event, _ in heard],
            event_ids=[new for _, new in heard],
            types=[event.type for event, _ in heard],
            bodies=[self._body(event, new) for event, new in heard],
        )
        keys = [delivery_key(*row) async for row in deliveries]
        await self._jobs.enqueue_all(connection, DELIVER, keys)

    async def publish_to(self, connection: Connection, endpoint_id: UUID, event: Event, delivery_id: UUID) -> None:
        """Adds an event for one endpoint, whatever it chose, under the id of its delivery."""
        event_id = self._new_id()
        await self._store.sql.insert_event_for(
            connection,
            factory_id=event.factory_id,
            event_id=event_id,
            type=event.type,
            body=self._body(event, event_id),
            delivery_id=delivery_id,
            endpoint_id=endpoint_id,
        )
        await self.enqueue(connection, event.factory_id, delivery_id, 1)

    async def enqueue(self, connection: Connection, factory_id: UUID, delivery_id: UUID, round_number: int) -> None:
        """Adds the job that makes a delivery."""
        await self._jobs.enqueue(connection, DELIVER, delivery_key(factory_id, delivery_id, round_number))

    def _body(self, event: Event, event_id: UUID) -> bytes:
        """The event as CloudEvents 1.0 has it in structured JSON."""
        return orjson.dumps(
            {
                "specversion": "1.0",
                "id": event_id,
                "source": f"{SOURCE}{event.factory_id}",
                "type": event.type,
                "time": self._clock.now(),
                "subject": event.subject,
                "datacontenttype": "application/json",
                "data": event.data,
            },
            default=str,  # asyncpg's UUIDs are of a class of their own
            option=orjson.OPT_UTC_Z,
        )


def _hex(batch: Batch) -> str:
    return (batch.root or b"").hex()
