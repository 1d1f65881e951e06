"""Signing the ledger: every few seconds, when it has grown, a checkpoint is signed, kept, and submitted to Anchor.

Any number of processes may run this. One signs at a time: it holds an advisory lock on the connection that it works
with, so that the lead ends with the connection. Nothing rests on that: two that signed at once would sign trees that
are both committed and contain each other, Ed25519 signs one text in one way, and Anchor takes the same root any number
of times.

Lost before a checkpoint's row is committed: a signature that nobody was shown. After it: nothing; a row without
`submitted_at` is submitted until Anchor has accepted it, also if it had before.
"""

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

import asyncpg
import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge

from mesh import tasks
from mesh.clock import Clock
from mesh.database import GONE, Connection
from mesh.errors import AnchorConflict, DependencyUnavailable
from mesh.ledger import Ledger, LedgerDamagedError, LedgerForeignError, Standing
from mesh.presence import Presence
from trust.checkpoint import Checkpoint
from trust.note import Signer

log = structlog.get_logger()
LEASE_TURNS = 3.0
LEAST_LEASE_SECONDS = 15.0
"""Longer than Anchor is waited for, during which the connection idles."""


class Submit(Protocol):
    """Hands a checkpoint's root to Anchor, any number of times."""

    async def __call__(self, checkpoint: Checkpoint, /) -> None:
        """Raises DependencyUnavailable, and AnchorConflict if Anchor has another root for this size."""
        ...


class Due(Protocol):
    """Says whether what was appended after the last checkpoint, of `signed` entries, is worth one."""

    async def __call__(self, connection: Connection, signed: int, /) -> bool:
        """Asked when the ledger has grown."""
        ...


async def always(_: Connection, __: int) -> bool:
    """Whatever was appended is signed for."""
    return True


class LedgerMetrics:
    """Gauges and counters of a signer of the ledger in the given registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.faults = Counter(
            "voketag_ledger_faults", "Checkpoints that could not be signed or anchored", registry=registry
        )
        self.damaged = Gauge("voketag_ledger_damaged", "1 while the ledger is not fit to be signed", registry=registry)
        self._age = Gauge("voketag_ledger_checkpoint_age_seconds", "Age of the last checkpoint", registry=registry)
        self._size = Gauge("voketag_ledger_checkpoint_size", "Entries that are signed for", registry=registry)
        self._unsigned = Gauge("voketag_ledger_unsigned", "Entries that are not signed for", registry=registry)
        self._unsubmitted = Gauge(
            "voketag_ledger_unsubmitted", "Checkpoints that Anchor has not accepted", registry=registry
        )

    def show(self, standing: Standing, now: datetime) -> None:
        """Shows how far the ledger is signed for."""
        if standing.signed_at is not None:
            self._age.set((now - standing.signed_at).total_seconds())
        self._size.set(standing.signed)
        self._unsigned.set(standing.size - standing.signed)
        self._unsubmitted.set(standing.unsubmitted)


@dataclass(frozen=True, slots=True)
class Turns:
    """Seconds between looks at the ledger, and between tries to lead or to reach PostgreSQL."""

    every: float = 10.0
    again: float = 0.5


class Checkpoints:
    """Signs the ledger with `signer`."""

    def __init__(
        self,
        pool: "asyncpg.Pool[Any]",
        ledger: Ledger,
        signer: Signer,
        submit: Submit,
        *,
        clock: Clock,
        metrics: LedgerMetrics,
        turns: Turns,
        due: Due = always,
    ) -> None:
        self._pool = pool
        self._ledger = ledger
        self._signer = signer
        self._submit = submit
        self._clock = clock
        self._metrics = metrics
        self._turns = turns
        self._due = due
        self._postgres, self._anchor = Presence("PostgreSQL for checkpoints"), Presence("Anchor")

    async def run(self, stop: asyncio.Event) -> None:
        """Signs until `stop` is set, through any absence of PostgreSQL or Anchor."""
        while not stop.is_set():
            try:
                await self._on_connection(stop)
            except GONE as error:
                self._postgres.away(error)
            except Exception:
                self._metrics.faults.inc()
                log.exception("checkpoints cannot be signed")
            await tasks.pause(stop, self._turns.again)

    async def _on_connection(self, stop: asyncio.Event) -> None:
        connection = await self._pool.acquire(timeout=5)
        try:
            lease = max(self._turns.every * LEASE_TURNS, LEAST_LEASE_SECONDS)
            while not await self._ledger.lead(connection, lease):
                self._postgres.here()
                await self._show(connection)
                await tasks.pause(stop, self._turns.again)
                if stop.is_set():
                    return
            await self._ledger.signs(connection, self._signer, self._clock.now())
            while not stop.is_set():
                await self._turn(connection)
                self._postgres.here()
                await tasks.pause(stop, self._turns.every)
        finally:
            with suppress(asyncpg.InterfaceError):  # a lost one has left the pool already
                connection.terminate()

    async def _turn(self, connection: Connection) -> None:
        try:
            standing = await self._ledger.standing(connection)
            if standing.size <= standing.signed or await self._due(connection, standing.signed):
                await self._ledger.sign(connection, self._signer, self._clock.now())
            self._metrics.damaged.set(0)
        except (LedgerDamagedError, LedgerForeignError) as error:
            self._metrics.damaged.set(1)
            log.error("the ledger is not signed for: audit it", reason=str(error))
        try:
            await self._hand_in(connection)
            self._anchor.here()
        except DependencyUnavailable as error:
            self._anchor.away(error)
        await self._show(connection)

    async def _hand_in(self, connection: Connection) -> None:
        above = 0
        while page := await self._ledger.unsubmitted(connection, above):
            for checkpoint in page:
                above = checkpoint.size
                try:
                    await self._submit(checkpoint)
                except AnchorConflict:  # the others must not wait for it
                    self._metrics.faults.inc()
                    log.error("another tree of this size was anchored: the ledger is forked", size=checkpoint.size)
                else:
                    await self._ledger.submitted(connection, checkpoint, self._clock.now())

    async def _show(self, connection: Connection) -> None:
        self._metrics.show(await self._ledger.standing(connection), self._clock.now())
