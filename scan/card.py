"""What is known of a product, remembered for a moment: a process asks once for all it misses in an event-loop turn."""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple
from uuid import UUID

import structlog

from mesh.clock import Clock
from mesh.errors import DependencyUnavailable
from mesh.presence import Presence
from scan.changes import Changes
from scan.factors import WITHDRAWN, ProductState
from scan.risk import Weights

log = structlog.get_logger()

ANCHORED = "COMPLETED"
REFUSED = frozenset({"CANCELLED", "FAILED"})
MARKET = "market"
"""The attribute that says where a product belongs, ISO 3166-1 alpha-2."""
LOAD_PRODUCTS = 1_000
PROBE_SECONDS = 0.25
RENEW_SECONDS = 0.05


class InForce(NamedTuple):
    """What staff ruled: the product or its batch is blocked, its key is revoked, and up to which second since 1970 what
    was found counts no more, 0 if it all does.
    """

    blocked: bool
    revoked: bool
    cleared: int


@dataclass(frozen=True, slots=True)
class Card:
    """A product as its factory describes it; `index` is its place in the batch, `kid` the key of its token.

    `weights` are the factory's own, None for those that everybody has. `ruling` is None where staff ruled nothing. What
    every scan asks for is worked out once: ids as bytes, the market ('' without one), whether the factory or our staff
    say that nobody should have this product, and whether its batch is anchored.
    """

    product_id: UUID
    batch_id: UUID
    factory_id: UUID
    index: int
    kid: int
    product_state: ProductState
    batch_state: str
    factory_name: str
    attributes: Mapping[str, str]
    weights: Weights | None = None
    ruling: InForce | None = None
    raw_batch_id: bytes = field(init=False, repr=False, compare=False)
    raw_factory_id: bytes = field(init=False, repr=False, compare=False)
    market: str = field(init=False, repr=False, compare=False)
    withdrawn: bool = field(init=False, repr=False, compare=False)
    anchored: bool = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        blocked = self.ruling is not None and self.ruling.blocked
        for name, value in (
            ("raw_batch_id", self.batch_id.bytes),
            ("raw_factory_id", self.factory_id.bytes),
            ("market", self.attributes.get(MARKET, "")),
            ("withdrawn", blocked or self.batch_state in REFUSED or self.product_state in WITHDRAWN),
            ("anchored", self.batch_state == ANCHORED),
        ):
            object.__setattr__(self, name, value)

    def __hash__(self) -> int:
        """The product's: there is one card of it at a time."""
        return hash(self.product_id)


class Found(NamedTuple):
    """The card, None if there is no such product; not `fresh` when it may have changed since it was read."""

    card: Card | None
    fresh: bool


class Limits(NamedTuple):
    """How many cards a process remembers, and for how long: while PostgreSQL is there, and without it."""

    capacity: int = 100_000
    fresh_seconds: float = 1.5
    stale_seconds: float = 3600.0


DEFAULT_LIMITS = Limits()


class CardsAwayError(Exception):
    """The product is not remembered, and its card cannot be read now."""


class _Entry(NamedTuple):
    card: Card | None
    read_at: float


Load = Callable[[Sequence[bytes]], Awaitable[Mapping[bytes, Card]]]
"""Reads cards by product id, 16 bytes; products that do not exist are left out.

Raises DependencyUnavailable, within about a second.
"""


class Cards:
    """Cards by product, the least recently used forgotten first.

    While the factory's notices are followed, a card that has not changed counts for longer. One that is asked for in
    the second half of its time is read anew in the background, with others like it, so
    that nobody waits for a product in demand. While PostgreSQL is away, which is found out by a query and ended by a
    probe in the background, remembered cards serve and nobody waits.
    """

    def __init__(
        self,
        load: Load,
        clock: Clock,
        presence: Presence,
        changes: Changes,
        *,
        limits: Limits = DEFAULT_LIMITS,
    ) -> None:
        self._load = load
        self._clock = clock
        self._presence = presence
        self._changes = changes
        self._capacity, self._fresh_seconds, self._stale_seconds = limits
        self._entries: OrderedDict[bytes, _Entry] = OrderedDict()
        self._wanted: dict[bytes, list[asyncio.Future[Found]]] = {}
        self._loader: asyncio.Task[None] | None = None
        self._probe: asyncio.Task[None] | None = None
        self._renewal: asyncio.TimerHandle | None = None

    def at_hand(self, product_id: bytes) -> Found | None:
        """The card of a product, 16 bytes; None when it is not remembered or no longer counts."""
        entry = self._entries.get(product_id)
        if entry is None:
            return None
        age, lifetime = self._clock.monotonic() - entry.read_at, self._lifetime(product_id, entry)
        if age >= lifetime:
            return None
        if age > lifetime / 2:
            self._renew(product_id)
        self._entries.move_to_end(product_id)
        return Found(entry.card, True)

    async def find(self, product_id: bytes) -> Found:
        """The card of a product, 16 bytes. Raises CardsAwayError."""
        found = self.at_hand(product_id)
        if found is not None:
            return found
        if not self._presence.is_here:
            return self._remembered(product_id)
        answer: asyncio.Future[Found] = asyncio.get_running_loop().create_future()
        self._wanted.setdefault(product_id, []).append(answer)
        self._start_loading()
        return await answer

    async def close(self) -> None:
        """Ends the work in the background."""
        if self._renewal is not None:
            self._renewal.cancel()
        tasks = [task for task in (self._loader, self._probe) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _lifetime(self, product_id: bytes, entry: _Entry) -> float:
        card = entry.card
        if card is not None and self._changes.none_since(entry.read_at, product_id, card.raw_batch_id):
            return self._changes.kept_seconds
        return self._fresh_seconds

    def _remembered(self, product_id: bytes) -> Found:
        """That a product did not exist says nothing later on, so only cards serve without PostgreSQL."""
        entry = self._entries.get(product_id)
        if entry is None or entry.card is None or self._clock.monotonic() - entry.read_at >= self._stale_seconds:
            raise CardsAwayError
        return Found(entry.card, False)

    def _renew(self, product_id: bytes) -> None:
        if product_id not in self._wanted and self._presence.is_here:
            self._wanted[product_id] = []
            if self._renewal is None:
                self._renewal = asyncio.get_running_loop().call_later(RENEW_SECONDS, self._start_loading)

    def _start_loading(self) -> None:
        if self._renewal is not None:
            self._renewal.cancel()
            self._renewal = None
        if self._loader is None:
            self._loader = asyncio.create_task(self._load_wanted())

    async def _load_wanted(self) -> None:
        """One query at a time, so that what comes meanwhile gathers for the next."""
        try:
            while self._wanted:
                batch = [self._wanted.popitem() for _ in range(min(len(self._wanted), LOAD_PRODUCTS))]
                await self._load_batch(dict(batch))
        finally:
            self._loader = None

    async def _load_batch(self, wanted: Mapping[bytes, Sequence["asyncio.Future[Found]"]]) -> None:
        read_at = self._clock.monotonic()
        try:
            cards = await self._load(list(wanted))
        except DependencyUnavailable as error:
            self._gone(error)
            for product_id, answers in wanted.items():
                self._answer_remembered(product_id, answers)
        except Exception as error:  # noqa: BLE001 - whoever waits gets it
            _settle([answer for answers in wanted.values() for answer in answers], error)
        else:
            for product_id, answers in wanted.items():
                card = cards.get(product_id)
                self._remember(product_id, _Entry(card, read_at))
                _settle(answers, Found(card, True))

    def _remember(self, product_id: bytes, entry: _Entry) -> None:
        self._entries[product_id] = entry
        self._entries.move_to_end(product_id)
        if len(self._entries) > self._capacity:
            self._entries.popitem(last=False)

    def _answer_remembered(self, product_id: bytes, answers: Sequence["asyncio.Future[Found]"]) -> None:
        try:
            _settle(answers, self._remembered(product_id))
        except CardsAwayError as error:
            _settle(answers, error)

    def _gone(self, error: DependencyUnavailable) -> None:
        self._presence.away(error.__cause__ or error)
        if self._probe is None:
            self._probe = asyncio.create_task(self._wait_for_return())

    async def _wait_for_return(self) -> None:
        while not self._presence.is_here:
            await asyncio.sleep(PROBE_SECONDS)
            try:
                await self._load([])
            except DependencyUnavailable:
                continue
            except Exception:
                log.exception("PostgreSQL answers, but not as it should")
            self._presence.here()
        self._probe = None


def _settle(answers: Sequence["asyncio.Future[Found]"], outcome: Found | Exception) -> None:
    for answer in answers:
        if answer.done():
            continue
        if isinstance(outcome, Exception):
            answer.set_exception(outcome)
        else:
            answer.set_result(outcome)
