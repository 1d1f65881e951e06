"""Orders of batches: created with their job in one transaction, read, listed, watched, cancelled."""

import hashlib
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from itertools import repeat
from uuid import UUID

from factory.attributes import check_name, encode_template
from factory.backlog import order_build
from factory.batch import Batch, BatchState, Order, Product
from factory.changes import Changes
from factory.issuing import Rows, Tree, commit
from factory.minting import Minter, RawIdSource, Tokens
from factory.products import to_products
from factory.quotas import Quotas
from factory.store import Connection, Store
from mesh import audit, idempotency
from mesh.clock import IdSource
from mesh.idempotency import RequestKey
from mesh.jobs import Jobs
from mesh.paging import PageTokens

PAGE_SIZE = 50
SINGLE = "Single product"
"""The name of a batch that was ordered for one product."""


@dataclass(frozen=True, slots=True)
class BatchPage:
    """Batches, newest first, and the token of the next page or ''."""

    batches: list[Batch]
    next_page_token: str


class Orders:
    """The batches of factories. Every method takes the factory that asks; another's batch is as unknown as none."""

    def __init__(
        self,
        store: Store,
        changes: Changes,
        jobs: Jobs,
        tokens: Tokens,
        *,
        quotas: Quotas,
        pages: PageTokens,
        new_id: IdSource,
        new_product_id: RawIdSource,
    ) -> None:
        self._store = store
        self._changes = changes
        self._jobs = jobs
        self._tokens = tokens
        self._quotas = quotas
        self._pages = pages
        self._new_id = new_id
        self._new_product_id = new_product_id

    async def create(
        self, factory_id: UUID, request: RequestKey, order: Order, *, field: str = "template"
    ) -> tuple[Batch, list[Product]]:
        """The batch ordered, and its products when they were asked for; `field` names the template in errors.

        Raises ValidationFailed, RequestIdReused, QuotaExceeded, FactorySuspended.
        """
        check_name(order.name)
        template = encode_template(order.template, field)
        async with self._store.transaction(factory_id) as connection:
            new = self._new_id()
            first = await idempotency.claim(connection, request, new)
            if first is not None:
                batch = await self._store.batch(connection, factory_id, first)
                return batch, await self._products(connection, batch) if order.return_products else []
            markets = await self._store.markets(connection, factory_id)
            encode_template(order.template, field, markets=markets)
            batch = await self._store.insert_batch(
                connection,
                new,
                factory_id=factory_id,
                name=order.name,
                state=BatchState.PENDING,
                template=template,
                kid=self._tokens.kid,
                product_count=order.product_count,
            )
            products = await self._issue_all(connection, batch) if order.return_products else []
            await order_build(self._store, self._jobs, connection, batch)
            detail = {"name": batch.name, "product_count": batch.product_count, "state": batch.state}
            await audit.record(connection, resource=f"batch/{new}", request_id=request.request_id, detail=detail)
            batch = await self._store.batch(connection, factory_id, new)
            # Last, as the factory's other orders wait for this one from here on.
            await self._quotas.charge(connection, factory_id, order.product_count)
        self._changes.announce(new)
        return batch, products

    async def create_one(self, factory_id: UUID, request: RequestKey, attributes: Mapping[str, str]) -> Product:
        """The one product of a batch ordered for it. Raises what `create` does."""
        order = Order(SINGLE, attributes, product_count=1, return_products=True)
        _, products = await self.create(factory_id, request, order, field="attributes")
        return products[0]

    async def _issue_all(self, connection: Connection, batch: Batch) -> list[Product]:
        tree = await Tree.load(self._store, connection, batch)
        batch_id = batch.batch_id.bytes
        minter = Minter(self._new_product_id, batch_id=batch_id, template=batch.template, kid=batch.kid)
        minted = minter.mint_alike(0, batch.product_count)
        await commit(self._store, connection, batch, tree.grow(whole(0, batch.product_count), minted))
        places = zip(minted.ids, self._tokens.fresh(minted.ids), strict=True)
        return [
            Product(UUID(bytes=product_id), batch.batch_id, index, token, batch.template)
            for index, (product_id, token) in enumerate(places)
        ]

    async def _products(self, connection: Connection, batch: Batch) -> list[Product]:
        rows = await self._store.products(connection, batch, first_index=0, after=None, limit=batch.product_count)
        return to_products(self._tokens, zip(rows, repeat(batch), strict=False))

    async def get(self, factory_id: UUID, batch_id: UUID) -> Batch:
        """Raises BatchNotFound."""
        async with self._store.connection(factory_id) as connection:
            return await self._store.batch(connection, factory_id, batch_id)

    async def list(self, factory_id: UUID, *, state: BatchState | None, page_size: int, page_token: str) -> BatchPage:
        """A page of at most `page_size` batches, 0 meaning 50. Raises PageTokenInvalid."""
        scope = f"batches:{factory_id}:{state}"
        before = UUID(self._pages.decode(page_token, scope=scope)) if page_token else None
        size = page_size or PAGE_SIZE
        async with self._store.connection(factory_id) as connection:
            found = await self._store.batches(connection, factory_id, before=before, state=state, limit=size + 1)
        page = found[:size]
        more = self._pages.encode(str(page[-1].batch_id), scope=scope) if len(found) > size else ""
        return BatchPage(page, more)

    async def watch(self, factory_id: UUID, batch_id: UUID) -> AsyncGenerator[Batch, None]:
        """The batch now and at every change, until nothing more happens. Raises BatchNotFound, ShuttingDown."""
        seen: Batch | None = None
        with self._changes.waiting(batch_id) as waiter:
            while True:
                batch = await self.get(factory_id, batch_id)
                if batch != seen:
                    yield batch
                if batch.state.ends_watching:
                    return
                seen = batch
                await waiter.wait()

    async def cancel(self, factory_id: UUID, request: RequestKey, batch_id: UUID) -> Batch:
        """The batch CANCELLED. Raises BatchNotFound, BatchStateConflict, RequestIdReused."""
        async with self._store.transaction(factory_id) as connection:
            batch = await self._store.batch(connection, factory_id, batch_id, lock=True)
            if await idempotency.claim(connection, request, batch_id) is not None:
                return batch
            state = audit.change(batch.state, BatchState.CANCELLED)
            detail = {"state": state, "issued_count": batch.issued_count}
            batch = await self._store.set_state(connection, batch, BatchState.CANCELLED)
            resource = f"batch/{batch_id}"
            await audit.record(connection, resource=resource, request_id=request.request_id, detail=detail)
        self._changes.announce(batch_id)
        return batch


def whole(first: int, count: int) -> Rows:
    """The rows of a chunk that nobody sent: they are the products themselves."""
    return Rows(first, count, hashlib.sha256(b"").digest())
