"""What operators see of a service's queues, and do with their jobs.

A queue is the jobs of one kind; people know it by the service's name before it: `factory.batch.build`.
"""

import json
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import NAMESPACE_OID, UUID, uuid5

import asyncpg

from mesh import audit, idempotency
from mesh.claims import CANCELLED_BY, KEPT_ATTEMPTS
from mesh.database import Connection
from mesh.errors import JobNotFound, JobStateConflict, QueueNotFound
from mesh.idempotency import RequestKey
from mesh.paging import PageTokens

PAGE_SIZE = 100
PAYLOAD_BYTES = 4096
NEWEST = UUID(int=2**128 - 1)
QUEUES = """
SELECT queue.name, queue.paused_at, queue.paused_by,
  coalesce(jobs.waiting, 0) AS waiting, coalesce(jobs.deferred, 0) AS deferred, coalesce(jobs.running, 0) AS running,
  coalesce(jobs.held, 0) AS held, coalesce(jobs.oldest, 0)::double precision AS oldest,
  coalesce(ended.done, 0)::bigint AS done, coalesce(ended.failed, 0)::bigint AS failed
FROM {schema}.job_queues queue
LEFT JOIN (
  SELECT entrypoint,
    count(*) FILTER (WHERE status = 'queued' AND execute_after <= now()) AS waiting,
    count(*) FILTER (WHERE status = 'queued' AND execute_after > now()) AS deferred,
    count(*) FILTER (WHERE status = 'picked') AS running,
    count(*) FILTER (WHERE status = 'failed') AS held,
    extract(epoch FROM now() - min(execute_after) FILTER (WHERE status = 'queued' AND execute_after <= now())) AS oldest
  FROM {table} GROUP BY entrypoint
) jobs ON jobs.entrypoint = queue.name
LEFT JOIN (
  SELECT name, sum(count) FILTER (WHERE outcome = 'done') AS done,
    sum(count) FILTER (WHERE outcome = 'failed') AS failed
  FROM {schema}.job_tallies WHERE hour > now() - interval '24 hours' GROUP BY name
) ended ON ended.name = queue.name
WHERE $1::text IS NULL OR queue.name = $1
ORDER BY queue.name
"""
ERRORS = """
SELECT name, error, count, last_at FROM (
  SELECT name, error, sum(count)::bigint AS count, max(last_at) AS last_at,
    row_number() OVER (PARTITION BY name ORDER BY sum(count) DESC, error) AS place
  FROM {schema}.job_tallies WHERE outcome = 'failed' AND hour > now() - interval '24 hours' GROUP BY name, error
) ranked WHERE place <= 5 AND ($1::text IS NULL OR name = $1) ORDER BY name, place
"""
COLUMNS = "job_id, entrypoint, status::text, priority, attempts, created, execute_after, dedupe_key, headers"
PAGE = """
SELECT {columns} FROM {table}
WHERE entrypoint = $1 AND job_id < $2 AND ($3::text IS NULL OR status::text = $3) ORDER BY job_id DESC LIMIT $4
"""
ONE = """
SELECT {columns}, substring(payload FOR {bytes}) AS payload, history FROM {table} WHERE job_id = $1 AND entrypoint = $2
"""
CHANGE = """
UPDATE {table} SET {changes}, updated = now(),
  history = (CASE WHEN jsonb_array_length(history) >= {kept} THEN history - 0 ELSE history END) || jsonb_build_object(
    'number', coalesce((history -> -1 ->> 'number')::int, 0),
    'began', now(), 'ended', now(), 'action', $2::text, 'by', $3::text)
WHERE job_id = $1
"""
ASK = "UPDATE {table} SET headers = {headers} || jsonb_build_object('{header}', $2::text) WHERE job_id = $1"
PAUSE = """
UPDATE {schema}.job_queues SET paused_at = CASE WHEN $2::text IS NULL THEN NULL ELSE now() END, paused_by = $2
WHERE name = $1
"""
WAKE = "DELETE FROM {table} WHERE false"
"""Workers are told of rows that come and go, of the statement alone, and not of rows that change."""


class JobState(StrEnum):
    """Where a job stands, and what PgQueuer calls it."""

    WAITING = "queued"
    RUNNING = "picked"
    HELD = "failed"
    CANCELLED = "canceled"


class JobAction(StrEnum):
    """What an operator does with a job."""

    RETRY = "RETRY"
    CANCEL = "CANCEL"
    HOLD = "HOLD"
    RELEASE = "RELEASE"


HEADERS = "CASE jsonb_typeof(headers) WHEN 'object' THEN headers ELSE '{}' END"
"""PgQueuer writes a JSON null where a job has none."""
AGAIN = "status = 'queued', execute_after = now()"
CHANGES = {
    JobAction.RETRY: f"{AGAIN}, attempts = 0, headers = {HEADERS} - '{CANCELLED_BY}'",
    JobAction.CANCEL: f"{AGAIN}, headers = {HEADERS} || jsonb_build_object('{CANCELLED_BY}', $3::text)",
    JobAction.HOLD: "status = 'failed'",
    JobAction.RELEASE: AGAIN,
}
ALLOWED = {
    JobAction.RETRY: (JobState.HELD, JobState.WAITING, JobState.CANCELLED),
    JobAction.CANCEL: (JobState.HELD, JobState.WAITING, JobState.RUNNING),
    JobAction.HOLD: (JobState.WAITING,),
    JobAction.RELEASE: (JobState.HELD,),
}


@dataclass(frozen=True, slots=True)
class FrequentError:
    """What attempts failed by in 24 hours, how often, and when last."""

    text: str
    count: int
    last_at: datetime


@dataclass(frozen=True, slots=True)
class Queue:
    """Jobs of one kind: how many are due, deferred, running and held; `oldest` seconds; attempts of 24 hours."""

    name: str
    paused_at: datetime | None
    paused_by: str | None
    waiting: int
    deferred: int
    running: int
    held: int
    oldest: float
    done: int
    failed: int
    errors: tuple[FrequentError, ...]


@dataclass(frozen=True, slots=True)
class QueuedJob:
    """A job; `history` as mesh.claims keeps it, oldest first. Payload and history are of single jobs alone."""

    job_id: UUID
    queue: str
    state: JobState
    priority: int
    attempts: int
    created_at: datetime
    due_at: datetime
    cancelled_by: str
    standing: bool
    payload: bytes = b""
    history: tuple[dict[str, Any], ...] = ()


class Queues:
    """The queues at `table` in `schema`; `transaction` is one of the service's role, on its schema."""

    def __init__(
        self,
        schema: str,
        table: str,
        transaction: Callable[[], AbstractAsyncContextManager[Connection]],
        pages: PageTokens,
    ) -> None:
        self._prefix = f"{schema}."
        self._names = {"schema": schema, "table": table}
        self._transaction = transaction
        self._pages = pages

    async def list(self) -> Sequence[Queue]:
        """All, by name."""
        async with self._transaction() as connection:
            return await self._queues(connection, None)

    async def pause(self, request: RequestKey, queue: str, actor: str, *, paused: bool) -> Queue:
        """Stops workers from picking up its jobs, or lets them. Raises QueueNotFound, RequestIdReused."""
        name = self._name(queue)
        async with self._transaction() as connection:
            await connection.execute(self._sql("SELECT FROM {schema}.job_queues WHERE name = $1 FOR UPDATE"), name)
            before = await self._queue(connection, queue)
            if await idempotency.claim(connection, request, uuid5(NAMESPACE_OID, queue)) is not None:
                return before
            if (before.paused_at is not None) == paused:
                audit.replayed()
                return before
            await connection.execute(self._sql(PAUSE), name, actor if paused else None)
            await connection.execute(self._sql(WAKE))
            detail = {"paused": audit.change(not paused, paused), "by": actor}
            await audit.record(connection, resource=f"queue/{queue}", request_id=request.request_id, detail=detail)
            return await self._queue(connection, queue)

    async def jobs(
        self, queue: str, state: JobState | None, *, caller: str, page_size: int, page_token: str
    ) -> tuple[Sequence[QueuedJob], str]:
        """A page of at most `page_size`, 0 meaning 100, newest first, and the token of the next.

        Raises QueueNotFound, PageTokenInvalid.
        """
        scope = f"jobs:{caller}:{queue}:{state}"
        before = UUID(self._pages.decode(page_token, scope=scope)) if page_token else NEWEST
        size = page_size or PAGE_SIZE
        async with self._transaction() as connection:
            await self._queue(connection, queue)
            page = self._sql(PAGE, columns=COLUMNS)
            rows = await connection.fetch(page, self._name(queue), before, state and state.value, size + 1)
        found = [self._to_job(row) for row in rows]
        more = self._pages.encode(str(found[size - 1].job_id), scope=scope) if len(found) > size else ""
        return found[:size], more

    async def job(self, queue: str, job_id: UUID) -> QueuedJob:
        """With payload and history. Raises JobNotFound."""
        async with self._transaction() as connection:
            return await self._job(connection, queue, job_id)

    async def change(self, request: RequestKey, queue: str, job_id: UUID, action: JobAction, actor: str) -> QueuedJob:
        """Does it, and writes it into the job's history. Raises JobNotFound, JobStateConflict, RequestIdReused."""
        async with self._transaction() as connection:
            before = await self._job(connection, queue, job_id, lock=True)
            if await idempotency.claim(connection, request, job_id) is not None:
                return before
            if before.state not in ALLOWED[action]:
                raise JobStateConflict(state=before.state.name.lower())
            if before.standing and action is not JobAction.RETRY:
                raise JobStateConflict(state="standing")
            await self._change(connection, before, action, actor)
            after = await self._job(connection, queue, job_id)
            states = audit.change(before.state.name, after.state.name)
            detail = {"queue": queue, "action": action, "by": actor, "state": states}
            await audit.record(connection, resource=f"job/{job_id}", request_id=request.request_id, detail=detail)
            return after

    async def _change(self, connection: Connection, job: QueuedJob, action: JobAction, actor: str) -> None:
        if job.state is JobState.RUNNING:  # the last step of its history is the attempt under way
            await connection.execute(self._sql(ASK, header=CANCELLED_BY, headers=HEADERS), job.job_id, actor)
            return
        change = self._sql(CHANGE, changes=CHANGES[action], kept=KEPT_ATTEMPTS)
        try:
            await connection.execute(change, job.job_id, action.value, actor)
        except asyncpg.UniqueViolationError:  # another with its key is on its way
            raise JobStateConflict(state="replaced") from None
        await connection.execute(self._sql(WAKE))

    async def _job(self, connection: Connection, queue: str, job_id: UUID, *, lock: bool = False) -> QueuedJob:
        one = self._sql(ONE, columns=COLUMNS, bytes=PAYLOAD_BYTES) + ("FOR UPDATE" if lock else "")
        row = await connection.fetchrow(one, job_id, self._name(queue))
        if row is None:
            raise JobNotFound(job_id=job_id)
        return self._to_job(row)

    def _to_job(self, row: Any) -> QueuedJob:
        whole = "history" in row
        return QueuedJob(
            job_id=row["job_id"],
            queue=self._prefix + row["entrypoint"],
            state=JobState(row["status"]),
            priority=row["priority"],
            attempts=row["attempts"],
            created_at=row["created"],
            due_at=row["execute_after"],
            cancelled_by=(json.loads(row["headers"] or "null") or {}).get(CANCELLED_BY, ""),
            standing=row["dedupe_key"] == row["entrypoint"],
            payload=(row["payload"] or b"") if whole else b"",
            history=tuple(json.loads(row["history"])) if whole else (),
        )

    async def _queue(self, connection: Connection, queue: str) -> Queue:
        found = await self._queues(connection, self._name(queue))
        if not found:
            raise QueueNotFound(queue=queue)
        return found[0]

    async def _queues(self, connection: Connection, name: str | None) -> Sequence[Queue]:
        errors: dict[str, list[FrequentError]] = {}
        for row in await connection.fetch(self._sql(ERRORS), name):
            errors.setdefault(row["name"], []).append(FrequentError(row["error"], row["count"], row["last_at"]))
        return [
            Queue(**{**dict(row), "name": self._prefix + row["name"]}, errors=tuple(errors.get(row["name"], ())))
            for row in await connection.fetch(self._sql(QUEUES), name)
        ]

    def _name(self, queue: str) -> str:
        if not queue.startswith(self._prefix):
            raise QueueNotFound(queue=queue)
        return queue.removeprefix(self._prefix)

    def _sql(self, statement: str, **more: object) -> str:
        return statement.format(**self._names, **more)
