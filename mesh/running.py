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
        self._tasks: dict[int, asyncio.Future[None]] = {}
        self._ended: set[int] = set()

    async def run(self, number: int, work: Awaitable[None]) -> None:
        """Runs it to its end. Raises Cancelled when it was ended by an operator, and what it raises itself."""
        task = self._tasks[number] = asyncio.ensure_future(work)
        try:
            await task
        except asyncio.CancelledError:
            current = asyncio.current_task()
            if number in self._ended and not (current and current.cancelling()):
                raise Cancelled from None
            raise
        finally:
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
                    if (task := self._tasks.get(row["id"])) is not None:
                        self._ended.add(row["id"])
                        task.cancel()
