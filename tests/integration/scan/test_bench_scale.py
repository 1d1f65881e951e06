"""The rows that the bench of many products and events makes by itself are rows of the tables as they are."""

from typing import Any
from uuid import UUID

from bench.scan_scale import events_copy, products_copy
from factory.minting import COLUMNS, raw_uuid7
from scan import journal
from tests.integration.scan.world import Database, connected


async def test_products_and_events_made_in_bulk_are_read_back(database: Database) -> None:
    batch, minted = await database.batch(1, state="COMPLETED"), [raw_uuid7() for _ in range(3)]
    products: Any = memoryview(products_copy(minted, batch.batch_id.bytes))
    events: Any = memoryview(events_copy(minted, batch.batch_id.bytes, database.factory_id.bytes, 5))
    async with connected(database.owner_dsn) as owner:
        await owner.copy_to_table("products", schema_name="factory", source=products, columns=COLUMNS, format="binary")
        await owner.copy_to_table("events", schema_name="scan", source=events, columns=journal.COLUMNS, format="binary")
        found = await owner.fetch(
            """SELECT product_id, index, events.batch_id, factory_id, scan_count, ledger_index
               FROM scan.events JOIN factory.products USING (product_id)
               WHERE product_id = ANY ($1) ORDER BY ledger_index""",
            [UUID(bytes=each) for each in minted],
        )
    around = batch.batch_id, database.factory_id, 1
    assert [tuple(row) for row in found] == [
        (UUID(bytes=each), place, *around, place + 4) for place, each in enumerate(minted, 1)
    ]
