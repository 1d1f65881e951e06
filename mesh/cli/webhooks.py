"""`voketag webhook`: where a factory's systems are told what happened, and what became of it."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TextIO, TypeVar
from uuid import uuid4

import click
import grpc
from voketag.factory.v1 import webhook_pb2 as pb
from voketag.factory.v1.webhook_pb2_grpc import WebhookServiceStub

from mesh.cli.connection import as_factory, explain
from mesh.cli.console import console
from mesh.cli.order import local_key

T = TypeVar("T")
Ask = Callable[[Any], Awaitable[T]]
EVENTS = {
    name.removeprefix("EVENT_TYPE_").lower().replace("_", ".", 1): number
    for name, number in pb.EventType.items()
    if number not in (pb.EVENT_TYPE_UNSPECIFIED, pb.EVENT_TYPE_WEBHOOK_TEST)
}
STATES = [name.removeprefix("DELIVERY_STATE_").lower() for name in pb.DeliveryState.keys()[1:]]


def ask(context: click.Context, call: Ask[T]) -> T:
    """What the service answers. Raises ClickException."""
    target, key = context.obj

    async def run() -> T:
        async with as_factory(target, key) as channel:
            return await call(WebhookServiceStub(channel))

    try:
        return asyncio.run(run())
    except grpc.aio.AioRpcError as error:
        raise explain(error) from error


def show_secret(answer: pb.CreateEndpointResponse | pb.RotateSecretResponse) -> None:
    """Prints what signatures are checked with."""
    console.print(f"endpoint  {answer.endpoint.endpoint_id}")
    console.print(f"secret    [bold]{answer.secret}[/]", soft_wrap=True)
    console.print(f"public    {answer.endpoint.public_key}", soft_wrap=True)


def show_delivery(delivery: pb.Delivery) -> None:
    """Prints a delivery and its attempts, a line each."""
    state = pb.DeliveryState.Name(delivery.state).removeprefix("DELIVERY_STATE_").lower()
    event = pb.EventType.Name(delivery.event_type).removeprefix("EVENT_TYPE_").lower()
    console.print(f"{delivery.delivery_id}  {state:<9}  {event}  {delivery.event_id}", soft_wrap=True)
    for attempt in delivery.attempts:
        when = attempt.attempt_time.ToJsonString()
        console.print(f"    {when}  {attempt.status or attempt.error}  {attempt.duration_ms} ms", soft_wrap=True)


@click.group()
@click.option("--target", metavar="HOST:PORT", help="The edge; else the local mesh's.")
@click.option("--api-key-file", type=click.File(), help="Your factory's API key; else a local factory's.")
@click.pass_context
def webhook(context: click.Context, target: str | None, api_key_file: TextIO | None) -> None:
    """Be told what happens: docs/webhooks.md says what arrives and how to verify it."""
    context.obj = (target, api_key_file.read().strip() if api_key_file else local_key())


@webhook.command()
@click.argument("url")
@click.option("--event", "events", multiple=True, type=click.Choice(sorted(EVENTS)), help="Only this; may be repeated.")
@click.pass_context
def create(context: click.Context, url: str, events: tuple[str, ...]) -> None:
    """Register a URL for all events, or for some."""
    chosen = [EVENTS[event] for event in dict.fromkeys(events)]
    request = pb.CreateEndpointRequest(request_id=str(uuid4()), url=url, event_types=chosen)
    show_secret(ask(context, lambda stub: stub.CreateEndpoint(request)))


@webhook.command("list")
@click.pass_context
def list_command(context: click.Context) -> None:
    """List the newest endpoints."""
    answer: pb.ListEndpointsResponse = ask(context, lambda stub: stub.ListEndpoints(pb.ListEndpointsRequest()))
    for endpoint in answer.endpoints:
        reason = pb.DisableReason.Name(endpoint.disable_reason).removeprefix("DISABLE_REASON_").lower()
        state = f"disabled ({reason})" if endpoint.disable_reason else "enabled"
        console.print(f"{endpoint.endpoint_id}  {state}  {endpoint.url}", soft_wrap=True)


@webhook.command()
@click.argument("endpoint_id")
@click.pass_context
def rotate(context: click.Context, endpoint_id: str) -> None:
    """Give an endpoint a new secret; the old one signs as well for 24 hours."""
    request = pb.RotateSecretRequest(request_id=str(uuid4()), endpoint_id=endpoint_id)
    show_secret(ask(context, lambda stub: stub.RotateSecret(request)))


@webhook.command()
@click.argument("endpoint_id")
@click.pass_context
def disable(context: click.Context, endpoint_id: str) -> None:
    """End deliveries to an endpoint."""
    request = pb.DisableEndpointRequest(request_id=str(uuid4()), endpoint_id=endpoint_id)
    ask(context, lambda stub: stub.DisableEndpoint(request))
    console.print("Disabled.")


@webhook.command()
@click.argument("endpoint_id")
@click.pass_context
def test(context: click.Context, endpoint_id: str) -> None:
    """Deliver a test event."""
    request = pb.TestEndpointRequest(request_id=str(uuid4()), endpoint_id=endpoint_id)
    show_delivery(ask(context, lambda stub: stub.TestEndpoint(request)).delivery)


@webhook.command()
@click.argument("endpoint_id")
@click.option("--state", type=click.Choice(STATES), help="Only those.")
@click.pass_context
def deliveries(context: click.Context, endpoint_id: str, state: str | None) -> None:
    """List the newest deliveries to an endpoint with their attempts."""
    request = pb.ListDeliveriesRequest(endpoint_id=endpoint_id)
    if state:
        request.state = pb.DeliveryState.Value(f"DELIVERY_STATE_{state.upper()}")
    for delivery in ask(context, lambda stub: stub.ListDeliveries(request)).deliveries:
        show_delivery(delivery)


@webhook.command()
@click.argument("delivery_id")
@click.pass_context
def replay(context: click.Context, delivery_id: str) -> None:
    """Make a delivery again, under its own id."""
    request = pb.ReplayDeliveryRequest(request_id=str(uuid4()), delivery_id=delivery_id)
    show_delivery(ask(context, lambda stub: stub.ReplayDelivery(request)).delivery)
