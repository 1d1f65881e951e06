"""WebhookService: where factories' systems are told what happened, and what became of it."""

from typing import Any
from uuid import UUID

from voketag.factory.v1 import webhook_pb2 as pb
from voketag.factory.v1 import webhook_pb2_grpc

from factory import convert
from factory.webhooks import Webhooks
from mesh.idempotency import RequestKey
from mesh.identity import caller

_SERVICE = "/voketag.factory.v1.WebhookService/"


class WebhookService(webhook_pb2_grpc.WebhookServiceServicer):
    """See proto/voketag/factory/v1/webhook.proto."""

    def __init__(self, webhooks: Webhooks) -> None:
        self._webhooks = webhooks

    async def CreateEndpoint(self, request: pb.CreateEndpointRequest, context: Any) -> pb.CreateEndpointResponse:
        """Registers a URL."""
        key = RequestKey.of(f"{_SERVICE}CreateEndpoint", request.request_id, request)
        chosen = convert.event_types(request.event_types)
        endpoint, secret = await self._webhooks.create(caller().uuid, key, request.url, chosen)
        return pb.CreateEndpointResponse(endpoint=convert.endpoint_message(endpoint), secret=secret)

    async def ListEndpoints(self, request: pb.ListEndpointsRequest, context: Any) -> pb.ListEndpointsResponse:
        """Lists the caller's endpoints, newest first."""
        page = await self._webhooks.list(caller().tenant, page_size=request.page_size, page_token=request.page_token)
        endpoints = [convert.endpoint_message(endpoint) for endpoint in page.endpoints]
        return pb.ListEndpointsResponse(endpoints=endpoints, next_page_token=page.next_page_token)

    async def RotateSecret(self, request: pb.RotateSecretRequest, context: Any) -> pb.RotateSecretResponse:
        """Gives a new secret."""
        key = RequestKey.of(f"{_SERVICE}RotateSecret", request.request_id, request)
        endpoint, secret = await self._webhooks.rotate(caller().uuid, key, UUID(request.endpoint_id))
        return pb.RotateSecretResponse(endpoint=convert.endpoint_message(endpoint), secret=secret)

    async def DisableEndpoint(self, request: pb.DisableEndpointRequest, context: Any) -> pb.DisableEndpointResponse:
        """Ends deliveries to an endpoint."""
        key = RequestKey.of(f"{_SERVICE}DisableEndpoint", request.request_id, request)
        endpoint = await self._webhooks.disable(caller().uuid, key, UUID(request.endpoint_id))
        return pb.DisableEndpointResponse(endpoint=convert.endpoint_message(endpoint))

    async def TestEndpoint(self, request: pb.TestEndpointRequest, context: Any) -> pb.TestEndpointResponse:
        """Delivers a test."""
        key = RequestKey.of(f"{_SERVICE}TestEndpoint", request.request_id, request)
        delivery = await self._webhooks.test(caller().uuid, key, UUID(request.endpoint_id))
        return pb.TestEndpointResponse(delivery=convert.delivery_message(delivery))

    async def ListDeliveries(self, request: pb.ListDeliveriesRequest, context: Any) -> pb.ListDeliveriesResponse:
        """Lists deliveries to an endpoint, newest first."""
        page = await self._webhooks.deliveries(
            caller().tenant,
            UUID(request.endpoint_id),
            state=convert.delivery_state(request.state),
            page_size=request.page_size,
            page_token=request.page_token,
        )
        deliveries = [convert.delivery_message(delivery) for delivery in page.deliveries]
        return pb.ListDeliveriesResponse(deliveries=deliveries, next_page_token=page.next_page_token)

    async def ReplayDelivery(self, request: pb.ReplayDeliveryRequest, context: Any) -> pb.ReplayDeliveryResponse:
        """Makes a delivery again."""
        key = RequestKey.of(f"{_SERVICE}ReplayDelivery", request.request_id, request)
        delivery = await self._webhooks.replay(caller().uuid, key, UUID(request.delivery_id))
        return pb.ReplayDeliveryResponse(delivery=convert.delivery_message(delivery))

    async def RaiseFraudSuspected(
        self, request: pb.RaiseFraudSuspectedRequest, context: Any
    ) -> pb.RaiseFraudSuspectedResponse:
        """Tells the factory of a product."""
        key = RequestKey.of(f"{_SERVICE}RaiseFraudSuspected", request.request_id, request)
        event_id = await self._webhooks.raise_fraud(key, convert.suspicion(request))
        return pb.RaiseFraudSuspectedResponse(event_id=str(event_id))
