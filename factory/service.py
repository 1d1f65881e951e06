"""FactoryService: what a factory does with its API key."""

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any
from uuid import UUID

from voketag.factory.v1 import factory_pb2 as pb
from voketag.factory.v1 import factory_pb2_grpc

from factory import convert
from factory.imports import Imports
from factory.ordering import Orders
from factory.products import Products
from mesh.idempotency import RequestKey
from mesh.identity import caller

_SERVICE = "/voketag.factory.v1.FactoryService/"


class FactoryService(factory_pb2_grpc.FactoryServiceServicer):
    """See proto/voketag/factory/v1/factory.proto."""

    def __init__(self, orders: Orders, imports: Imports, products: Products, *, url_prefix: str) -> None:
        self._orders = orders
        self._imports = imports
        self._products = products
        self._url_prefix = url_prefix

    async def CreateBatch(self, request: pb.CreateBatchRequest, context: Any) -> pb.CreateBatchResponse:
        """Orders products that share one description."""
        key = RequestKey.of(f"{_SERVICE}CreateBatch", request.request_id, request)
        batch, products = await self._orders.create(caller().uuid, key, convert.order(request))
        return pb.CreateBatchResponse(
            batch=convert.batch_message(batch),
            products=[convert.product_message(product, self._url_prefix) for product in products],
        )

    async def ImportProducts(
        self, request_iterator: AsyncIterator[pb.ImportProductsRequest], context: Any
    ) -> AsyncIterator[pb.ImportProductsResponse]:
        """Orders a batch of products that come row by row."""
        frames = convert.frames(request_iterator)
        async with aclosing(self._imports.run(caller().uuid, frames)) as answers:
            async for answer in answers:
                yield convert.answer_message(answer, self._url_prefix)

    async def GetBatch(self, request: pb.GetBatchRequest, context: Any) -> pb.GetBatchResponse:
        """Gives a batch."""
        batch = await self._orders.get(caller().tenant, UUID(request.batch_id))
        return pb.GetBatchResponse(batch=convert.batch_message(batch))

    async def ListBatches(self, request: pb.ListBatchesRequest, context: Any) -> pb.ListBatchesResponse:
        """Lists the caller's batches, newest first."""
        page = await self._orders.list(
            caller().tenant,
            state=convert.batch_state(request.state),
            page_size=request.page_size,
            page_token=request.page_token,
        )
        batches = [convert.batch_message(batch) for batch in page.batches]
        return pb.ListBatchesResponse(batches=batches, next_page_token=page.next_page_token)

    async def WatchBatch(self, request: pb.WatchBatchRequest, context: Any) -> AsyncIterator[pb.WatchBatchResponse]:
        """Sends a batch now and at every change."""
        async with aclosing(self._orders.watch(caller().tenant, UUID(request.batch_id))) as states:
            async for batch in states:
                yield pb.WatchBatchResponse(batch=convert.batch_message(batch))

    async def CancelBatch(self, request: pb.CancelBatchRequest, context: Any) -> pb.CancelBatchResponse:
        """Stops a batch that is not being anchored yet."""
        key = RequestKey.of(f"{_SERVICE}CancelBatch", request.request_id, request)
        batch = await self._orders.cancel(caller().uuid, key, UUID(request.batch_id))
        return pb.CancelBatchResponse(batch=convert.batch_message(batch))

    async def GetProduct(self, request: pb.GetProductRequest, context: Any) -> pb.GetProductResponse:
        """Gives a product with its token."""
        product = await self._products.get(caller().tenant, UUID(request.product_id))
        return pb.GetProductResponse(product=convert.product_message(product, self._url_prefix))

    async def ListProducts(self, request: pb.ListProductsRequest, context: Any) -> pb.ListProductsResponse:
        """Lists the products of a batch by index."""
        page = await self._products.list(
            caller().tenant, UUID(request.batch_id), page_size=request.page_size, page_token=request.page_token
        )
        products = [convert.product_message(product, self._url_prefix) for product in page.products]
        return pb.ListProductsResponse(products=products, next_page_token=page.next_page_token)
