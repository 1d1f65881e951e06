"""Scans straight into the journal while Valkey is away: before they are answered, many in one transaction."""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import structlog
from prometheus_client import Counter

from mesh.database import GONE
from mesh.errors import DependencyUnavailable
from mesh.telemetry import from_zero
from scan.event import BLIND_BYTES, Envelope, Judge, Row, make_row
from scan.journal import Journal

if TYPE_CHECKING:
    import asyncpg

log = structlog.get_logger()
GROUP = 1_000
WRITE_SECONDS = 1.0
SCANS = from_zero(
    Counter("voketag_direct_scans", "Scans recorded without Valkey by outcome.", ["outcome"]), "recorded", "refused"
)


class Direct:
    """Records scans of this process, a group at a time; what comes meanwhile waits for the next group.

    At most `waiting` scans wait, so that memory is bounded: more are refused at once. `gather_seconds` is how long the
    first scan of a group waits for others.
    """

    def __init__(
        self,
        pool: "asyncpg.Pool[Any]",
        journal: Journal,
        judge: Judge,
        *,
        entropy: Callable[[int], bytes],
        waiting: int = 10_000,
        gather_seconds: float = 0.003,
    ) -> None:
        self._pool = pool
        self._journal = journal
        self._judge = judge
        self._entropy = entropy
        self._limit = waiting
        self._gather = gather_seconds
        self._waiting: deque[tuple[Row, asyncio.Future[None]]] = deque()
        self._writing: asyncio.Task[None] | None = None

    async def record(self, envelope: Envelope) -> None:
        """Returns once the scan is in the journal, where it may have been already: by way of a call to Valkey that was
        not answered.

        Raises DependencyUnavailable when it may not be there, and MalformedEventError on what is no event. A caller
        that is cancelled leaves its scan to be recorded.
        """
        if len(self._waiting) >= self._limit:
            SCANS.labels("refused").inc()
            raise DependencyUnavailable(dependency="PostgreSQL")
        row = make_row(envelope, self._judge, self._entropy(BLIND_BYTES))
        recorded: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((row, recorded))
        if self._writing is None:
            self._writing = asyncio.create_task(self._write_all())
        await recorded

    async def close(self) -> None:
        """Returns once nothing waits."""
        while self._writing is not None:
            await asyncio.wait([self._writing])

    async def _write_all(self) -> None:
        try:
            while self._waiting:
                await asyncio.sleep(self._gather)
                group = [self._waiting.popleft() for _ in range(min(GROUP, len(self._waiting)))]
                try:
                    await self._write([row for row, _ in group])
                except Exception as error:
                    # Those behind would wait as long, for as little.
                    group += self._waiting
                    self._waiting.clear()
                    unforeseen = None if isinstance(error, GONE) else error
                    log.warning("scans are not recorded", scans=len(group), reason=repr(error), exc_info=unforeseen)
                    _settle(group, DependencyUnavailable(dependency="PostgreSQL"))
                else:
                    _settle(group, None)
        finally:
            self._writing = None

    async def _write(self, rows: list[Row]) -> None:
        connection = await self._pool.acquire(timeout=WRITE_SECONDS)
        try:
            writing = asyncio.ensure_future(self._journal.record(connection, rows))
            done, _ = await asyncio.wait([writing], timeout=WRITE_SECONDS)
            if not done:  # cancelled, it would wait for a server that hangs to roll back
                connection.terminate()
            await writing
        finally:
            await self._pool.release(connection)


def _settle(group: list[tuple[Row, "asyncio.Future[None]"]], error: DependencyUnavailable | None) -> None:
    SCANS.labels("refused" if error else "recorded").inc(len(group))
    for _, recorded in group:
        if recorded.done():
            continue
        if error:
            recorded.set_exception(error)
        else:
            recorded.set_result(None)
