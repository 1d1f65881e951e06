"""One submitter at a time: a lease in the database, whose fence every write carries."""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from uuid import UUID

from anchor.target_journal import TargetJournal
from mesh.database import GONE


class Lease:
    """`holder` names this process; `seconds` after it died another may take over."""

    def __init__(self, journal: TargetJournal, holder: UUID, seconds: float) -> None:
        self._journal = journal
        self._holder = holder
        self.seconds = seconds

    async def holding(self, work: Callable[[int], Coroutine[None, None, None]]) -> bool:
        """Runs `work` with a fence while the lease is held; False when another has it.

        Raises LeaseLostError, and what the work raises.
        """
        fence = await self._journal.acquire(self._holder, self.seconds)
        if fence is None:
            return False
        tasks = [asyncio.create_task(self._renew(fence)), asyncio.create_task(work(fence))]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            with suppress(*GONE):  # then the lease runs out by itself
                await self._journal.release(fence)
        for task in done:
            task.result()
        return True

    async def _renew(self, fence: int) -> None:
        while True:
            await asyncio.sleep(self.seconds / 3)
            await self._journal.renew(fence, self.seconds)
