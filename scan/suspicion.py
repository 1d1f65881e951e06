"""Suspicions on their way to the factory service, which tells the factory: `fraud.suspected`.

Written in the transaction of the scan that gave them, and sent by any journal process until the factory service has
answered, under one id, which it takes once. Whoever dies before the answer, or between the answer and its own row,
leaves it to be sent again.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from typing import Protocol
from uuid import UUID

import orjson
import structlog

from mesh import tasks
from mesh.errors import DependencyUnavailable
from mesh.presence import Presence
from scan.risk import RiskError, Weights, assess, facts_from_json

log = structlog.get_logger()
AT_ONCE = 50
FORGET_SECONDS, KEPT_DAYS = 3600.0, 30


@dataclass(frozen=True, slots=True)
class Suspicion:
    """What is said of a product; `verdict` as the journal numbers it, `codes` of the messages that explain it."""

    product_id: UUID
    verdict: int
    day: date
    event_id: UUID
    risk: int
    codes: Sequence[str]


class RefusedError(Exception):
    """The factory service will never have it; the message says why."""


Tell = Callable[[Suspicion], Awaitable[None]]
"""Tells the factory service, any number of times. Raises DependencyUnavailable, RefusedError."""


class Outbox(Protocol):
    """The rows. Everything raises DependencyUnavailable."""

    async def claim_suspicions(self, seconds: float, count: int) -> Sequence[Suspicion]:
        """So many that are due, which are due again after so long, twice as long after each try, 300 s at most."""
        ...

    async def settle_suspicion(self, suspicion: Suspicion, refusal: str | None) -> None:
        """Ends one."""
        ...

    async def forget_suspicions(self, days: int) -> None:
        """Removes those that ended so long ago."""
        ...


class Sender:
    """Sends suspicions. `again` is the time in seconds after which one is sent again, and at least that of a call."""

    def __init__(self, outbox: Outbox, tell: Tell, *, again: float, poll: float = 1.0) -> None:
        self._outbox = outbox
        self._tell = tell
        self._again = again
        self._poll = poll
        self._postgres, self._factory = Presence("PostgreSQL for suspicions"), Presence("Factory")

    async def run(self, stop: asyncio.Event) -> None:
        """Sends until `stop` is set, through any absence."""
        while not stop.is_set():
            try:
                sent = await self.send()
                self._postgres.here()
            except DependencyUnavailable as error:
                self._postgres.away(error)
                sent = 0
            except Exception:
                log.exception("suspicions cannot be sent")
                sent = 0
            if sent < AT_ONCE:
                await tasks.pause(stop, self._poll)

    async def forget(self, stop: asyncio.Event) -> None:
        """Removes old ones."""
        while not stop.is_set():
            with suppress(DependencyUnavailable):
                await self._outbox.forget_suspicions(KEPT_DAYS)
            await tasks.pause(stop, FORGET_SECONDS)

    async def send(self) -> int:
        """Sends what is due: how much that was. Raises DependencyUnavailable."""
        due = await self._outbox.claim_suspicions(self._again, AT_ONCE)
        async with asyncio.TaskGroup() as group:
            for suspicion in due:
                group.create_task(self._send(suspicion))
        return len(due)

    async def _send(self, suspicion: Suspicion) -> None:
        refusal = None
        try:
            await self._tell(suspicion)
            self._factory.here()
        except DependencyUnavailable as error:
            self._factory.away(error)
            return
        except RefusedError as error:
            refusal = str(error)
            log.error("a suspicion is refused", product_id=str(suspicion.product_id), reason=refusal)
        with suppress(DependencyUnavailable):  # it is sent again, and nothing comes of it
            await self._outbox.settle_suspicion(suspicion, refusal)


def message_codes(factors: bytes | None, facts: bytes | None) -> list[str]:
    """The codes of what was found, `risk.<factor>.<code>`; none when the event is gone or was not scored."""
    try:
        scores = orjson.loads(factors or b"")
        known = facts_from_json(facts or b"")
        found = assess(known, Weights(activates=True)).factors
        return [f"risk.{factor.name.value}.{factor.code}" for factor in found if scores.get(factor.name.value)]
    except (ValueError, TypeError, AttributeError, RiskError):
        return []
