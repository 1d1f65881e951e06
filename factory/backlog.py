"""What a factory has ordered and does not have yet, and the place in line that follows from it."""

from factory.batch import Batch
from factory.store import Connection, Store
from mesh.jobs import Jobs

BUILD, SUBMIT = "batch.build", "batch.submit"
"""The jobs of a batch; sql/ knows the names."""
PRODUCTS = 1000
"""A batch counts as so many products at least: it takes a job, however small it is."""


def priority(backlog: int) -> int:
    """The priority of a batch beside a backlog of so many products, its own among them: -1, and one less for each
    doubling, so that what a million wait for is never before what a thousand wait for."""
    return -(max(backlog, PRODUCTS) // PRODUCTS).bit_length()


async def order_build(
    store: Store, jobs: Jobs, connection: Connection, batch: Batch, *, dedupe_key: str | None = None
) -> None:
    """Puts a batch in line, in the transaction under way, behind factories that wait for less.

    Each step that operators gave the factory is worth half a backlog.
    """
    row = await store.sql.select_backlog(connection, factory_id=batch.factory_id, at_least=PRODUCTS)
    place = priority(row["products"]) + row["steps"]
    await jobs.enqueue(connection, BUILD, batch.key, priority=place, dedupe_key=dedupe_key)
