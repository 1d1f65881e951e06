"""Protobuf ↔ dataclass."""

import hashlib
import json
from collections.abc import AsyncIterator, Iterable
from datetime import datetime
from uuid import UUID

from google.protobuf.timestamp_pb2 import Timestamp
from voketag.factory.v1 import factory_pb2, lifecycle_pb2, webhook_pb2

from factory.batch import Batch, BatchState, Order, Product, ProductState
from factory.events import EventType, Suspicion
from factory.imports import Ack, Answer, Completed, End, Frame, Header, Opened, RowChunk
from factory.lifecycle import Change, Event, OfBatch, Some
from factory.webhooks import Attempt, Delivery, Endpoint
from mesh.idempotency import RequestKey

IMPORT = "/voketag.factory.v1.FactoryService/ImportProducts"


def timestamp(moment: datetime) -> Timestamp:
    """A moment."""
    message = Timestamp()
    message.FromDatetime(moment)
    return message


def batch_message(batch: Batch) -> factory_pb2.Batch:
    """A batch."""
    message = factory_pb2.Batch(
        batch_id=str(batch.batch_id),
        name=batch.name,
        state=factory_pb2.BatchState.Value(f"BATCH_STATE_{batch.state}"),
        product_count=batch.product_count,
        issued_count=batch.issued_count,
        refused_count=batch.refused_count,
        root=batch.root or b"",
        failure=batch.failure,
        create_time=timestamp(batch.created_at),
        update_time=timestamp(batch.updated_at),
    )
    if (anchor := batch.anchor) is not None:
        message.anchor.chain_id = anchor.chain_id
        message.anchor.contract = anchor.contract
        message.anchor.transaction = anchor.transaction
        message.anchor.block_number = anchor.block_number
    return message


def batch_state(number: factory_pb2.BatchState.ValueType) -> BatchState | None:
    """A state; None for the unspecified."""
    name = factory_pb2.BatchState.Name(number)
    return BatchState(name.removeprefix("BATCH_STATE_")) if number else None


def product_message(product: Product, url_prefix: str) -> factory_pb2.Product:
    """A product with its link."""
    return factory_pb2.Product(
        product_id=str(product.product_id),
        batch_id=str(product.batch_id),
        index=product.index,
        token=product.token,
        url=url_prefix + product.token,
        attributes=json.loads(product.attributes),
        state=state_number(product.state),
    )


def state_number(state: ProductState) -> factory_pb2.ProductState.ValueType:
    """The state of a product."""
    return factory_pb2.ProductState.Value(f"PRODUCT_STATE_{state.name}")


def change(request: lifecycle_pb2.ChangeProductsRequest) -> Change:
    """A change of products."""
    to_state = ProductState[factory_pb2.ProductState.Name(request.to_state).removeprefix("PRODUCT_STATE_")]
    match request.WhichOneof("selection"):
        case "ids":
            return Change(to_state, request.note, Some(frozenset(map(UUID, request.ids.product_ids))))
        case "serials":
            serials = request.serials
            selection = OfBatch(UUID(serials.batch_id), (serials.first, serials.last))
            return Change(to_state, request.note, selection)
        case _:
            return Change(to_state, request.note, OfBatch(UUID(request.batch_id)))


def event_message(event: Event) -> lifecycle_pb2.ProductEvent:
    """A step in a product's life."""
    return lifecycle_pb2.ProductEvent(
        event_id=str(event.event_id),
        from_state=state_number(event.from_state),
        to_state=state_number(event.to_state),
        actor=event.actor,
        note=event.note,
        event_time=timestamp(event.happened_at),
    )


def order(request: factory_pb2.CreateBatchRequest) -> Order:
    """An order."""
    return Order(request.name, dict(request.template), request.product_count, request.return_products)


def event_types(numbers: Iterable[webhook_pb2.EventType.ValueType]) -> frozenset[EventType]:
    """The events chosen."""
    names = (webhook_pb2.EventType.Name(number).removeprefix("EVENT_TYPE_") for number in numbers)
    return frozenset(EventType[name] for name in names)


def endpoint_message(endpoint: Endpoint) -> webhook_pb2.Endpoint:
    """An endpoint, without its secret."""
    message = webhook_pb2.Endpoint(
        endpoint_id=str(endpoint.endpoint_id),
        url=endpoint.url,
        event_types=sorted(_event_number(event_type) for event_type in endpoint.event_types),
        public_key=endpoint.public_key,
        create_time=timestamp(endpoint.created_at),
    )
    if endpoint.rotated_at is not None:
        message.rotate_time.CopyFrom(timestamp(endpoint.rotated_at))
    if endpoint.disabled_at is not None:
        message.disable_time.CopyFrom(timestamp(endpoint.disabled_at))
        message.disable_reason = webhook_pb2.DisableReason.Value(f"DISABLE_REASON_{endpoint.disable_reason}")
    return message


def delivery_state(number: webhook_pb2.DeliveryState.ValueType) -> str | None:
    """A state; None for the unspecified."""
    return webhook_pb2.DeliveryState.Name(number).removeprefix("DELIVERY_STATE_") if number else None


def delivery_message(delivery: Delivery) -> webhook_pb2.Delivery:
    """A delivery with its attempts."""
    message = webhook_pb2.Delivery(
        delivery_id=str(delivery.delivery_id),
        endpoint_id=str(delivery.endpoint_id),
        event_id=str(delivery.event_id),
        event_type=_event_number(delivery.event_type),
        state=webhook_pb2.DeliveryState.Value(f"DELIVERY_STATE_{delivery.state}"),
        attempts=[_attempt_message(attempt) for attempt in delivery.attempts],
        create_time=timestamp(delivery.created_at),
    )
    if delivery.next_attempt_at is not None:
        message.next_attempt_time.CopyFrom(timestamp(delivery.next_attempt_at))
    return message


def suspicion(request: webhook_pb2.RaiseFraudSuspectedRequest) -> Suspicion:
    """What scans make of a product."""
    return Suspicion(UUID(request.product_id), request.risk_score, request.verdict, list(request.message_codes))


def _attempt_message(attempt: Attempt) -> webhook_pb2.Attempt:
    return webhook_pb2.Attempt(
        attempt_time=timestamp(attempt.attempted_at),
        status=attempt.status or 0,
        error=attempt.error,
        duration_ms=attempt.duration_ms,
        answer=attempt.answer,
    )


def _event_number(event_type: EventType) -> webhook_pb2.EventType.ValueType:
    return webhook_pb2.EventType.Value(f"EVENT_TYPE_{event_type.name}")


async def frames(requests: AsyncIterator[factory_pb2.ImportProductsRequest]) -> AsyncIterator[Frame]:
    """The frames of an import, whose rows stay the messages they are."""
    async for request in requests:
        match request.WhichOneof("frame"):
            case "chunk":
                chunk = request.chunk
                digest = hashlib.sha256(chunk.SerializeToString(deterministic=True)).digest()
                yield RowChunk(chunk.first_row, chunk.rows, digest)
            case "header":
                header = request.header
                key = RequestKey.of(IMPORT, header.request_id, header)
                yield Header(key, header.name, dict(header.template))
            case _:
                yield End(request.end.row_count)


def answer_message(answer: Answer, url_prefix: str) -> factory_pb2.ImportProductsResponse:
    """An answer of an import."""
    match answer:
        case Ack():
            return factory_pb2.ImportProductsResponse(ack=_ack_message(answer))
        case Opened(batch):
            opened = factory_pb2.ImportOpened(
                batch=batch_message(batch), next_row=batch.next_row, url_prefix=url_prefix
            )
            return factory_pb2.ImportProductsResponse(opened=opened)
        case Completed(batch):
            completed = factory_pb2.ImportCompleted(batch=batch_message(batch))
            return factory_pb2.ImportProductsResponse(completed=completed)


def _ack_message(ack: Ack) -> factory_pb2.ImportAck:
    errors = [
        factory_pb2.RowError(
            row=error.row,
            column=error.column,
            reason=factory_pb2.RowErrorReason.Value(f"ROW_ERROR_REASON_{error.reason}"),
            message=error.message,
        )
        for error in ack.errors
    ]
    return factory_pb2.ImportAck(
        committed_rows=ack.committed_rows,
        first_row=ack.first_row,
        first_index=ack.first_index,
        tokens=ack.tokens,
        errors=errors,
    )
