"""Following finality: batches are COMPLETED when their roots are final, each once, whatever breaks."""

import asyncio

from factory.changes import Changes
from factory.events import Outbox, completions
from factory.peers import AnchorClient
from factory.store import FinalRoot, Store
from factory.tenants import EVERY
from mesh.errors import DependencyUnavailable
from mesh.presence import Presence

RETRY_SECONDS = 1.0


class Finality:
    """Follows the anchor service from the position stored with the batches it completed."""

    def __init__(self, store: Store, changes: Changes, outbox: Outbox, anchor: AnchorClient) -> None:
        self._store = store
        self._changes = changes
        self._outbox = outbox
        self._anchor = anchor
        self._presence = Presence("finality")

    async def run(self) -> None:
        """Follows until cancelled, through any absence of anchor or PostgreSQL."""
        while True:
            try:
                async with self._store.connection(EVERY) as connection:
                    after = await self._store.sql.select_position(connection)
                async for position, roots in self._anchor.finality(after):
                    self._presence.here()
                    await self._complete(position, roots)
            except DependencyUnavailable as away:
                self._presence.away(away)
            await asyncio.sleep(RETRY_SECONDS)

    async def _complete(self, position: int, roots: list[FinalRoot]) -> None:
        async with self._store.transaction(EVERY) as connection:
            if await self._store.sql.lock_position(connection) >= position:
                return
            completed = await self._store.complete(connection, roots)
            await self._outbox.publish(connection, completions(completed))
            await self._store.sql.set_position(connection, position=position)
        for batch in completed:
            self._changes.announce(batch.batch_id)
