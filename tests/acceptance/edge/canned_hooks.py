"""The webhook methods of the canned server, and what all of its methods share."""

from dataclasses import dataclass, field
from typing import Any

import grpc
from google.protobuf.timestamp_pb2 import Timestamp
from voketag.factory.v1 import webhook_pb2 as hooks
from voketag.factory.v1 import webhook_pb2_grpc

Context = grpc.aio.ServicerContext[Any, Any]
NOW = Timestamp(seconds=1_700_000_000)
ENDPOINT = hooks.Endpoint(create_time=NOW, event_types=[hooks.EVENT_TYPE_ANCHOR_FINAL])
DELIVERY = hooks.Delivery(create_time=NOW, attempts=[hooks.Attempt(attempt_time=NOW, status=500)])


@dataclass
class Hooks(webhook_pb2_grpc.WebhookServiceServicer):
    """Answers by what stands in the request, and remembers the metadata of each call."""

    metadata: list[dict[str, str]] = field(default_factory=list)

    def seen(self, context: Context) -> None:
        """Remembers what came with the call."""
        self.metadata.append({key: str(value) for key, value in context.invocation_metadata() or ()})

    async def CreateEndpoint(
        self, request: hooks.CreateEndpointRequest, context: Context
    ) -> hooks.CreateEndpointResponse:
        self.seen(context)
        return hooks.CreateEndpointResponse(endpoint=ENDPOINT, secret="whsec_1")

    async def ListEndpoints(self, request: hooks.ListEndpointsRequest, context: Context) -> hooks.ListEndpointsResponse:
        self.seen(context)
        return hooks.ListEndpointsResponse(endpoints=[ENDPOINT])

    async def RotateSecret(self, request: hooks.RotateSecretRequest, context: Context) -> hooks.RotateSecretResponse:
        self.seen(context)
        return hooks.RotateSecretResponse(endpoint=ENDPOINT)

    async def DisableEndpoint(
        self, request: hooks.DisableEndpointRequest, context: Context
    ) -> hooks.DisableEndpointResponse:
        self.seen(context)
        return hooks.DisableEndpointResponse(endpoint=ENDPOINT)

    async def TestEndpoint(self, request: hooks.TestEndpointRequest, context: Context) -> hooks.TestEndpointResponse:
        self.seen(context)
        return hooks.TestEndpointResponse(delivery=DELIVERY)

    async def ListDeliveries(
        self, request: hooks.ListDeliveriesRequest, context: Context
    ) -> hooks.ListDeliveriesResponse:
        self.seen(context)
        return hooks.ListDeliveriesResponse(deliveries=[DELIVERY])

    async def ReplayDelivery(
        self, request: hooks.ReplayDeliveryRequest, context: Context
    ) -> hooks.ReplayDeliveryResponse:
        self.seen(context)
        return hooks.ReplayDeliveryResponse(delivery=DELIVERY)

    async def RaiseFraudSuspected(
        self, request: hooks.RaiseFraudSuspectedRequest, context: Context
    ) -> hooks.RaiseFraudSuspectedResponse:
        self.seen(context)
        return hooks.RaiseFraudSuspectedResponse(event_id=request.product_id)
