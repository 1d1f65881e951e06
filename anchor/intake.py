"""Roots as they come in: those of one event-loop turn, and what comes while a commit is under way, share one."""

import asyncio
from collections import deque
from datetime import datetime
from uuid import UUID

import asyncpg

from anchor.store import Store
from anchor.submission import Anchor, Offer, Progress, Submission
from mesh import audit
from mesh.errors import DependencyUnavailable
from mesh.idempotency import RequestKey

GROUP = 1_000
COMMITS = 2
MANY = 32
"""So many that wait are worth a commit beside one that is under way. Fewer are answered sooner by the next one: a
second commit waits until the first is flushed and then for its own flush, and what comes after them for both.
"""
CONTENDED = (asyncpg.UniqueViolationError, asyncpg.DeadlockDetectedError)
"""What another process that takes the same at the same time causes; nothing of the group was done then."""


class Intake:
    """Takes the roots of this process in groups, one after the other; up to `commits` at once when `many` roots wait.

    At most `waiting` roots wait, so that memory is bounded: more are refused at once.
    """

    def __init__(self, store: Store, *, commits: int = COMMITS, many: int = MANY, waiting: int = 10_000) -> None:
        self._store = store
        self._commits = commits
        self._many = many
        self._under_way = 0
        self._begins = False
        self._limit = waiting
        self._waiting: deque[tuple[Offer, asyncio.Future[datetime | None]]] = deque()
        self._taking: set[asyncio.Task[None]] = set()

    async def submit(self, submission: Submission, key: RequestKey, *, urgent: bool) -> Anchor:
        """Returns once the root is durable; the same one again gives the same anchor.

        Raises AnchorConflict when another root was submitted for the subject, RequestIdReused, DependencyUnavailable:
        the root may then be durable or not. A caller that is cancelled leaves its root to be taken.
        """
        offer = self._store.offer(submission, key, urgent=urgent)
        create_time = await self._gathered(offer)
        if create_time is None:
            return await self._store.submit(offer)
        audit.settled()
        return Anchor(offer.submission_id, submission, Progress.PENDING, create_time)

    async def close(self) -> None:
        """Returns once nothing waits."""
        while self._taking:
            await asyncio.wait(self._taking)

    async def _gathered(self, offer: Offer) -> datetime | None:
        """When the root was taken; None when it is to be submitted alone: it was there before, or others contend."""
        if len(self._waiting) >= self._limit:
            raise DependencyUnavailable(dependency="PostgreSQL")
        taken: asyncio.Future[datetime | None] = asyncio.get_running_loop().create_future()
        self._waiting.append((offer, taken))
        if not self._begins and self._under_way < self._commits and self._worth_one(beside=self._under_way):
            self._begins = True  # and takes what comes until then
            self._under_way += 1
            task = asyncio.create_task(self._take_all())
            self._taking.add(task)
            task.add_done_callback(self._taking.discard)
        return await taken

    def _worth_one(self, *, beside: int) -> bool:
        """Whether what waits is worth a commit beside so many others."""
        return len(self._waiting) >= (self._many if beside else 1)

    async def _take_all(self) -> None:
        self._begins = False
        try:
            while self._worth_one(beside=self._under_way - 1):
                group = [self._waiting.popleft() for _ in range(min(GROUP, len(self._waiting)))]
                try:
                    taken = await self._take([offer for offer, _ in group])
                except Exception as error:  # noqa: BLE001 every caller gets it
                    for _, waiting in group:
                        if not waiting.done():
                            waiting.set_exception(error)
                else:
                    for offer, waiting in group:
                        if not waiting.done():
                            waiting.set_result(taken.get(offer.submission_id))
        finally:
            self._under_way -= 1

    async def _take(self, offers: list[Offer]) -> dict[UUID, datetime]:
        # One request once: with its repetition the whole group would contend. All processes take subjects in the same
        # order, so that they do not wait for each other in a circle.
        first = {(offer.key.caller, offer.key.request_id): offer for offer in reversed(offers)}
        try:
            return await self._store.take(sorted(first.values(), key=lambda offer: offer.submission.subject_id))
        except CONTENDED:
            return {}
