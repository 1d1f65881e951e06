"""The worker's side of webhooks: each delivery is attempted until it is taken, or its schedule has run out."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from random import Random
from typing import Any
from uuid import UUID

import structlog

from factory.events import DELIVER
from factory.lanes import Lanes
from factory.sending import Outcome, Sender
from factory.signing import RootKey, SigningKeys, headers
from factory.store import Store
from mesh.clock import Clock, IdSource
from mesh.errors import DependencyUnavailable
from mesh.jobs import Again, Handler, Job

log = structlog.get_logger()

MINUTE, HOUR = 60.0, 3600.0
SCHEDULE = (5.0, 5 * MINUTE, 30 * MINUTE, 2 * HOUR, 5 * HOUR, 10 * HOUR, 14 * HOUR, 20 * HOUR, 24 * HOUR)
"""Seconds before each attempt after the first, which Standard Webhooks 1.0 recommends: ten attempts in 75.6 h."""

JITTER = 0.2
LONGEST = 24 * HOUR
OVERLAP = timedelta(hours=24)
GONE = 410
AWAY_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Task:
    """A delivery that waits for an attempt; `retired` says when earlier secrets were replaced, newest first."""

    endpoint_id: UUID
    event_id: UUID
    attempts: int
    next_attempt_at: datetime | None
    body: bytes
    url: str
    version: int
    retired: Sequence[datetime]
    disabled: bool


@dataclass(frozen=True, slots=True)
class _Round:
    """A delivery, and which round of it; the key of its rows."""

    factory_id: UUID
    delivery_id: UUID
    round: int

    @classmethod
    def of(cls, job: Job) -> "_Round":
        raw = job.payload
        return cls(UUID(bytes=raw[:16]), UUID(bytes=raw[16:32]), int.from_bytes(raw[32:]))

    @property
    def key(self) -> dict[str, Any]:
        return {"factory_id": self.factory_id, "delivery_id": self.delivery_id, "round": self.round}


def signing_keys(root: RootKey, task: Task, now: datetime) -> list[SigningKeys]:
    """The endpoint's keys, newest first: those in force, and those replaced within a day."""
    versions = [task.version]
    versions += [task.version - back for back, at in enumerate(task.retired, 1) if at + OVERLAP > now]
    return [root.keys(task.endpoint_id, version) for version in versions]


def retry_delay(planned: float, retry_after: float | None, random: Random) -> float:
    """Seconds until the next attempt: as planned, with jitter, or more where the answer asks for it, up to a day."""
    return max(planned * random.uniform(1 - JITTER, 1 + JITTER), min(retry_after or 0.0, LONGEST))


class Delivering:
    """Makes attempts. Whatever breaks, an event is delivered once more rather than not at all."""

    def __init__(
        self,
        store: Store,
        sender: Sender,
        root: RootKey,
        clock: Clock,
        *,
        new_id: IdSource,
        random: Random,
        schedule: Sequence[float] = SCHEDULE,
    ) -> None:
        self._store = store
        self._sender = sender
        self._root = root
        self._clock = clock
        self._new_id = new_id
        self._random = random
        self._schedule = schedule
        self._lanes = Lanes(clock)

    def handlers(self) -> dict[str, Handler]:
        """By name of the job."""
        return {DELIVER: Handler(self.deliver, self.give_up)}

    async def deliver(self, job: Job) -> None:
        """One attempt. Raises Again when another is to come, or PostgreSQL is away."""
        try:
            await self._deliver(_Round.of(job))
        except DependencyUnavailable as away:
            raise Again(AWAY_SECONDS, str(away)) from away

    async def give_up(self, job: Job, reason: str) -> None:
        """A delivery whose workers died, or that breaks us, is FAILED."""
        log.error("delivery given up", reason=reason, attempt=job.attempt)
        outcome = Outcome(None, "WORKER_DIED", 0.0)
        await self._record(_Round.of(job), "FAILED", outcome, self._clock.now(), None)

    async def _deliver(self, which: _Round) -> None:
        async with self._store.connection(which.factory_id) as connection:
            row = await self._store.sql.select_task(connection, **which.key)
        if row is None:
            return
        task = Task(**dict(row))
        if task.disabled:
            await self._settle(which, "DROPPED")
            return
        now = self._clock.now()
        if task.next_attempt_at is not None and task.next_attempt_at > now:
            # A worker died between writing the attempt down and putting the job back.
            raise Again((task.next_attempt_at - now).total_seconds(), "its time has not come")
        if wait := self._lanes.wait(task.endpoint_id):
            raise Again(wait * self._random.uniform(0.5, 1), "the endpoint is busy")
        with self._lanes.attempt(task.endpoint_id):
            await self._attempt(which, task, now)

    async def _attempt(self, which: _Round, task: Task, now: datetime) -> None:
        """Dying before the record is written, the worker leaves a delivery that the next one makes again."""
        keys = signing_keys(self._root, task, now)
        signed = headers(keys, task.event_id, int(now.timestamp()), task.body)
        outcome = await self._sender.post(task.url, task.body, signed, secrets=[key.secret_text for key in keys])
        if outcome.succeeded:
            await self._record(which, "DELIVERED", outcome, now, None)
        elif outcome.status == GONE:
            await self._record(which, "FAILED", outcome, now, None, gone=task.endpoint_id)
        elif task.attempts >= len(self._schedule):
            await self._record(which, "FAILED", outcome, now, None)
        else:
            delay = retry_delay(self._schedule[task.attempts], outcome.retry_after, self._random)
            await self._record(which, "PENDING", outcome, now, self._clock.now() + timedelta(seconds=delay))
            raise Again(delay, outcome.error or f"status {outcome.status}")

    async def _record(
        self,
        which: _Round,
        state: str,
        outcome: Outcome,
        attempted_at: datetime,
        next_attempt_at: datetime | None,
        *,
        gone: UUID | None = None,
    ) -> None:
        """The attempt and what follows from it, together; `gone` is an endpoint that wants no more."""
        sql = self._store.sql
        async with self._store.transaction(which.factory_id) as connection:
            await sql.insert_attempt(
                connection,
                factory_id=which.factory_id,
                delivery_id=which.delivery_id,
                attempt_id=self._new_id(),
                attempted_at=attempted_at,
                status=outcome.status,
                error=outcome.error,
                duration_ms=round(outcome.duration * 1000),
                answer=outcome.answer,
            )
            await sql.settle_delivery(connection, **which.key, state=state, counted=1, next_attempt_at=next_attempt_at)
            if gone is not None:
                key = {"factory_id": which.factory_id, "endpoint_id": gone}
                await sql.disable_endpoint(connection, **key, disable_reason="GONE")

    async def _settle(self, which: _Round, state: str) -> None:
        async with self._store.connection(which.factory_id) as connection:
            await self._store.sql.settle_delivery(connection, **which.key, state=state, counted=0, next_attempt_at=None)
