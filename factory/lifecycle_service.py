"""LifecycleService: single products, and what becomes of products."""

from typing import Any
from uuid import UUID

from voketag.factory.v1 import lifecycle_pb2 as pb
from voketag.factory.v1 import lifecycle_pb2_grpc

from factory import convert
from factory.lifecycle import Lifecycle
from factory.ordering import Orders
from mesh.idempotency import RequestKey
from mesh.identity import caller

_SERVICE = "/voketag.factory.v1.LifecycleService/"


class LifecycleService(lifecycle_pb2_grpc.LifecycleServiceServicer):
    """See proto/voketag/factory/v1/lifecycle.proto."""

    def __init__(self, orders: Orders, lifecycle: Lifecycle, *, url_prefix: str) -> None:
        self._orders = orders
        self._lifecycle = lifecycle
        self._url_prefix = url_prefix

    async def CreateProduct(self, request: pb.CreateProductRequest, context: Any) -> pb.CreateProductResponse:
        """Orders a batch of one."""
        key = RequestKey.of(f"{_SERVICE}CreateProduct", request.request_id, request)
        product = await self._orders.create_one(caller().uuid, key, dict(request.attributes))
        return pb.CreateProductResponse(product=convert.product_message(product, self._url_prefix))

    async def ChangeProducts(self, request: pb.ChangeProductsRequest, context: Any) -> pb.ChangeProductsResponse:
        """Moves products to another state."""
        key = RequestKey.of(f"{_SERVICE}ChangeProducts", request.request_id, request)
        who = caller()
        done = await self._lifecycle.change(who.uuid, key, convert.change(request), actor=str(who.key_id))
        return pb.ChangeProductsResponse(
            changed_count=done.changed, unchanged_count=done.unchanged, refused_count=done.refused
        )

    async def ListProductEvents(
        self, request: pb.ListProductEventsRequest, context: Any
    ) -> pb.ListProductEventsResponse:
        """Lists what happened to a product, newest first."""
        page = await self._lifecycle.events(
            caller().tenant, UUID(request.product_id), page_size=request.page_size, page_token=request.page_token
        )
        events = [convert.event_message(event) for event in page.events]
        return pb.ListProductEventsResponse(events=events, next_page_token=page.next_page_token)
