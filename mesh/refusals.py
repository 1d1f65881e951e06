"""Refused changes: an audit row of who tried what, in a transaction of its own once it is refused."""

import asyncio
from collections.abc import Set as AbstractSet
from typing import Any
from uuid import UUID

import asyncpg
import structlog
from prometheus_client import Counter

from mesh.clock import Clock, IdSource
from mesh.error import (
    ALREADY_EXISTS,
    FAILED_PRECONDITION,
    INVALID_ARGUMENT,
    NOT_FOUND,
    PERMISSION_DENIED,
    RESOURCE_EXHAUSTED,
    UNAUTHENTICATED,
    VokeTagError,
)
from mesh.errors import RateLimited
from mesh.identity import PUBLIC, Principal
from mesh.limits import LocalLimiter, Rate
from mesh.telemetry import from_zero

INSERT = """
INSERT INTO audit
  (audit_id, at, actor_kind, actor_id, actor_role, method, resource, request_id, address_prefix, detail, result)
VALUES ($1, now(), $2, $3, $4, $5, $6, $7, $8, '{}', $9)
"""
LOGGED_CODES: AbstractSet[int] = frozenset(
    {
        *(INVALID_ARGUMENT, NOT_FOUND, ALREADY_EXISTS, PERMISSION_DENIED),
        *(FAILED_PRECONDITION, RESOURCE_EXHAUSTED, UNAUTHENTICATED),
    }
)
"""What callers are told of rights and state; our own failures refuse nobody."""
SAME_REFUSAL = Rate(1 / 60, 10)
"""Rows of one caller, method and reason, in one process: another kind of refusal never hides behind a flood of one."""
WAIT_SECONDS = 1.0
"""How long an answer waits for its row."""
REFUSALS = from_zero(
    Counter("voketag_refusals", "Refused changes of known callers, by what became of their audit rows.", ["outcome"]),
    *("logged", "over", "failed"),
)

log = structlog.get_logger()


class Refusals:
    """Writes the rows, on a pool of a role that may add to its table `audit`. Raises nothing of its own."""

    def __init__(self, pool: "asyncpg.Pool[Any]", clock: Clock, new_id: IdSource) -> None:
        self._pool = pool
        self._new_id = new_id
        self._limiter = LocalLimiter(clock)
        self._writing: set[asyncio.Task[None]] = set()

    async def keep(
        self,
        error: VokeTagError,
        actor: Principal,
        *,
        method: str,
        resource: str,
        request_id: UUID | None,
        address: str,
    ) -> None:
        """Has a refusal on the log, if it belongs there, before the caller hears of it.

        What is written goes on when the caller hangs up meanwhile, and when it takes longer than the answer may wait.
        """
        if actor == PUBLIC or error.code not in LOGGED_CODES or isinstance(error, RateLimited):
            return
        if await self._limiter.take(f"{actor}:{method}:{error.reason}", SAME_REFUSAL) > 0:
            REFUSALS.labels("over").inc()
            return
        role = ",".join(sorted(actor.roles))
        row = (self._new_id(), actor.kind, actor.id, role, method, resource, request_id, address, error.reason)
        task = asyncio.create_task(self._write(row))
        self._writing.add(task)
        task.add_done_callback(self._writing.discard)
        await asyncio.wait({task}, timeout=WAIT_SECONDS)

    async def _write(self, row: tuple[object, ...]) -> None:
        try:
            await self._pool.execute(INSERT, *row)
        except Exception as error:
            REFUSALS.labels("failed").inc()
            log.exception("a refusal is not in the audit", exc_info=error, actor=row[2], method=row[4], reason=row[-1])
        else:
            REFUSALS.labels("logged").inc()
