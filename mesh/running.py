"""The jobs that a worker runs now, and how operators end one."""

import asyncio
from collections.abc import Awaitable
from typing import Any

import structlog

from mesh.claims import CANCELLED_BY
from mesh.database import GONE

log = structlog.get_logger()
EVERY_SECONDS = 1.0
ASKED = "SELECT id FROM {table} WHERE status = 'picked' AND id = ANY($1::bigint[]) AND headers ? $2"


class Cancelled(Exception):
    """An operator wants this job cancelled."""


class Running:
    """Tasks by the number of their job."""

    def __init__(self, table: str) -> None:
        self._asked = ASKED.format(table=table)
        self._tasks: dict[int, asyncio.Task[object]] = {}
        self._ended: set[int] = set()

    async def run(self, number: int, work: Awaitable[None]) -> None:
        """Runs it to its end. Raises Cancelled when it was ended by an operator, and what it raises itself."""
        task = asyncio.current_task()
        assert task is not None
        before, self._tasks[number] = task.cancelling(), task
        try:
            await work
        except asyncio.CancelledError:
            if number in self._ended and task.cancelling() == before + 1:
                raise Cancelled from None
            raise
        finally:
            if number in self._ended:
                task.uncancel()
            del self._tasks[number]
            self._ended.discard(number)

    async def follow(self, pool: Any) -> None:
        """Ends what is to be cancelled, within a second, until cancelled itself."""
        while True:
            await asyncio.sleep(EVERY_SECONDS)
            if self._tasks:
                try:
                    found = await pool.fetch(self._asked, list(self._tasks), CANCELLED_BY)
                except GONE as away:
                    log.debug("cancelled jobs are not looked for", reason=str(away))
                    continue
                for row in found:
                    task = self._tasks.get(row["id"])
                    if task is not None and row["id"] not in self._ended:  # which may take a while to end
                        self._ended.add(row["id"])
                        task.cancel()
