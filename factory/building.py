"""The worker's jobs: issue what is missing, finish the tree, hand its root in."""

from uuid import UUID

import structlog

from factory.backlog import BUILD, SUBMIT
from factory.batch import Batch, BatchState
from factory.changes import Changes
from factory.events import Outbox, batch_failed, completions
from factory.issuing import SupersededError, Tree, commit
from factory.minting import Minter, RawIdSource
from factory.ordering import whole
from factory.peers import AnchorClient
from factory.rounds import Rounds
from factory.store import Store
from mesh import audit
from mesh.errors import AnchorConflict, BatchStateConflict, DependencyUnavailable
from mesh.jobs import Again, Handler, Job, Jobs

log = structlog.get_logger()

CHUNK_PRODUCTS = 10_000
"""Products in a chunk at most; `select_products` in sql/ counts on it."""
AT_ONCE = 2 * CHUNK_PRODUCTS
"""Products under way in a worker: a chunk is minted while another is committed, and small ones are together."""
AWAY_SECONDS = 1.0
TAKEN_OVER_SECONDS = 30.0


class Building:
    """Takes a batch from PENDING to ANCHORING. Every step can be broken off anywhere and run again."""

    def __init__(
        self,
        store: Store,
        changes: Changes,
        jobs: Jobs,
        outbox: Outbox,
        anchor: AnchorClient,
        *,
        new_product_id: RawIdSource,
    ) -> None:
        self._store = store
        self._changes = changes
        self._jobs = jobs
        self._outbox = outbox
        self._anchor = anchor
        self._new_product_id = new_product_id
        self._rounds = Rounds(AT_ONCE)

    def handlers(self) -> dict[str, Handler]:
        """By name of the job."""
        return {BUILD: Handler(self.build, self.fail)}

    def errands(self) -> dict[str, Handler]:
        """Those that wait for another service, and that no batch is to wait for."""
        return {SUBMIT: Handler(self.submit, self.fail)}

    async def build(self, job: Job) -> None:
        """Issues what is missing and finishes the tree.

        Raises Again when the worker stops, when others wait for a slot, and when PostgreSQL is away.
        """
        try:
            try:
                await self._build(job)
            except (SupersededError, BatchStateConflict):
                await self._leave(job)
        except DependencyUnavailable as away:
            raise Again(AWAY_SECONDS, str(away)) from away

    async def _build(self, job: Job) -> None:
        batch, tree = await self._begin(*_ids(job))
        if batch.state is not BatchState.PROCESSING:
            return
        while tree.size < batch.product_count:
            count = min(CHUNK_PRODUCTS, batch.product_count - tree.size)
            async with self._rounds.turn(batch.factory_id, count):
                if job.stopping.is_set():
                    raise Again(0, "the worker stops")
                await self._issue(batch, tree, count)
            if tree.size < batch.product_count and await job.others_wait():
                raise Again(0, "others wait")
        await self._finish(batch, tree, job.priority)

    async def _leave(self, job: Job) -> None:
        """The batch was cancelled, or taken over by a worker that thought this one dead.

        Then the job, which both have, must not end before the batch is built: the other may die as well.
        """
        factory_id, batch_id = _ids(job)
        async with self._store.connection(factory_id) as connection:
            batch = await self._store.batch(connection, factory_id, batch_id)
        log.info("batch left alone", batch_id=str(batch.batch_id), state=batch.state)
        if batch.state is BatchState.PROCESSING:
            raise Again(TAKEN_OVER_SECONDS, "another worker has the batch")

    async def submit(self, job: Job) -> None:
        """Hands the root in. Raises Again while the anchor service is away."""
        factory_id, batch_id = _ids(job)
        try:
            async with self._store.connection(factory_id) as connection:
                batch = await self._store.batch(connection, factory_id, batch_id)
            if batch.state is not BatchState.ANCHORING:
                return
            final = await self._anchor.submit(batch)
            if final is not None:
                async with self._store.transaction(factory_id) as connection:
                    completed = await self._store.complete(connection, [final])
                    await self._outbox.publish(connection, completions(completed))
                self._changes.announce(batch.batch_id)
        except AnchorConflict as conflict:
            await self.fail(job, str(conflict))
        except DependencyUnavailable as away:
            raise Again(AWAY_SECONDS, str(away)) from away

    async def fail(self, job: Job, reason: str) -> None:
        """Says so on the batch, unless that is past failing."""
        factory_id, batch_id = _ids(job)
        async with self._store.transaction(factory_id) as connection:
            batch = await self._store.batch(connection, factory_id, batch_id, lock=True)
            if batch.state not in {BatchState.PENDING, BatchState.PROCESSING, BatchState.ANCHORING}:
                return
            state = audit.change(batch.state, BatchState.FAILED)
            batch = await self._store.set_state(connection, batch, BatchState.FAILED, failure=reason[:500])
            await self._outbox.publish(connection, [batch_failed(batch)])
            detail = {"state": state, "job": job.name, "attempt": job.attempt}
            await audit.record(connection, resource=f"batch/{batch.batch_id}", request_id=None, detail=detail)
        self._changes.announce(batch.batch_id)

    async def _begin(self, factory_id: UUID, batch_id: UUID) -> tuple[Batch, Tree]:
        async with self._store.transaction(factory_id) as connection:
            batch = await self._store.take_writer(connection, factory_id, batch_id)
            if batch.state is BatchState.PENDING:
                batch = await self._store.set_state(connection, batch, BatchState.PROCESSING)
            tree = await Tree.load(self._store, connection, batch)
        self._changes.announce(batch_id)
        return batch, tree

    async def _issue(self, batch: Batch, tree: Tree, count: int) -> None:
        batch_id = batch.batch_id.bytes
        minter = Minter(self._new_product_id, batch_id=batch_id, template=batch.template, kid=batch.kid)
        chunk = tree.grow(whole(tree.size, count), minter.mint_alike(tree.size, count))
        async with self._store.transaction(batch.factory_id) as connection:
            await commit(self._store, connection, batch, chunk)
        self._changes.announce(batch.batch_id)

    async def _finish(self, batch: Batch, tree: Tree, priority: int) -> None:
        async with self._store.transaction(batch.factory_id) as connection:
            await self._store.set_root(connection, batch, tree.root)
            await self._jobs.enqueue(connection, SUBMIT, batch.key, priority=priority)
        self._changes.announce(batch.batch_id)


def _ids(job: Job) -> tuple[UUID, UUID]:
    return UUID(bytes=job.payload[:16]), UUID(bytes=job.payload[16:])
