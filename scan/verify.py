"""The path of one scan: tag, card, counters, risk, verdict."""

from datetime import datetime
from functools import lru_cache
from typing import NamedTuple
from uuid import UUID

from mesh.clock import Clock
from mesh.errors import DependencyUnavailable, ProductNotFound, TokenMalformed
from scan.caller import Caller
from scan.card import Card, Cards, CardsAwayError, Found
from scan.counters import Counters, RawIdSource
from scan.counts import Circumstances, Counts, History, facts
from scan.direct import Direct
from scan.event import Envelope, Said, Source
from scan.glance import Glance
from scan.risk import Assessment, Weights, assess
from scan.shard import Sighting
from scan.verdict import UNKNOWN, Judgement, issued, judge, revoked
from trust import token
from trust.keyring import Keyring
from trust.token import Checked


class Answer(NamedTuple):
    """What is said of a code.

    No `card` unless the product is known; no `history` and no `assessment` where it was not looked at. Factors that
    found nothing come without evidence unless it was asked for. `recorded`: the scan is in the journal, or will be.
    """

    judgement: Judgement
    card: Card | None
    history: History | None
    checked_at: datetime
    assessment: Assessment | None = None
    recorded: bool = False
    event_id: bytes = b""


class Scan(NamedTuple):
    """A scan of a code that we issued, before it is counted; no `found` while its card cannot be read.

    `explain`: with the evidence for every factor of the risk.
    """

    checked: Checked
    found: Found | None
    known: Circumstances
    sighting: Sighting
    explain: bool


class Verifier:
    """Judges codes."""

    def __init__(
        self,
        keyring: Keyring,
        cards: Cards,
        counters: Counters,
        clock: Clock,
        *,
        direct: Direct,
        weights: Weights,
        new_event_id: RawIdSource,
    ) -> None:
        self._keyring = keyring
        self._cards = cards
        self._counters = counters
        self._clock = clock
        self._direct = direct
        self._weights = weights
        self._glance = Glance(weights)
        self._new_event_id = new_event_id

    async def scan(
        self, text: str, caller: Caller, *, typed: bool = False, explain: bool = False, source: Source = Source.UNARY
    ) -> Answer:
        """Judges a code and counts the scan, which it takes from the budgets of the caller, the code and its factory.

        `typed`: by a person, who is forgiven; `explain`: with the evidence for every factor of the risk. Raises
        TokenMalformed, RateLimited.
        """
        checked = self._check(token.fold(text) if typed else text)
        if checked is not None:
            found = await self._find(checked.product_id)
            if issued(checked, found):
                scan = self._sighted(checked, found, caller, explain=explain, source=source)
                return await self.end(scan, await self._counters.scan(scan.sighting))
        await self._counters.probe(caller)
        return Answer(UNKNOWN, None, None, self._clock.now())

    def begin(self, text: str, caller: Caller, *, typed: bool = False, explain: bool = False) -> Scan | None:
        """A scan as far as the counters; None when it waits for its card, or the code is none of ours: see `scan`.

        Raises TokenMalformed.
        """
        checked = self._check(token.fold(text) if typed else text)
        found = self._cards.at_hand(checked.product_id) if checked is not None else None
        if checked is None or found is None or not issued(checked, found):
            return None
        return self._sighted(checked, found, caller, explain=explain, source=Source.UNARY)

    async def end(self, scan: Scan, told: bytes | None) -> Answer:
        """What follows from what Valkey told; None: it did not count the scan, which is recorded without it."""
        if told is not None:
            return self.judged(scan, told)
        event_id, product_id, *_, payload = scan.sighting
        recorded = await self._record(Envelope(event_id, product_id, payload))
        return self._answer(scan.checked, scan.found, event_id=event_id, recorded=recorded)

    def judged(self, scan: Scan, told: bytes) -> Answer:
        """What follows from what Valkey told."""
        checked, found, known, sighting, explain = scan
        counts = Counts.read(told)
        assessment = self._assess(found.card if found is not None else None, known, counts, explain=explain)
        return self._answer(checked, found, counts, assessment, event_id=sighting.event_id, recorded=True)

    async def look(self, text: str) -> Answer:
        """Judges a code in whatever form a person gave it, and counts nothing. Raises TokenMalformed."""
        checked = self._check(token.fold(text))
        if checked is not None:
            found = await self._find(checked.product_id)
            if issued(checked, found):
                return await self._peek(checked, found)
        return Answer(UNKNOWN, None, None, self._clock.now())

    async def card(self, text: str) -> Card:
        """The card of an issued token. Raises TokenMalformed, ProductNotFound, DependencyUnavailable."""
        checked = self._check(text)
        if checked is None:
            raise ProductNotFound
        found = await self._find(checked.product_id)
        if found is None:
            raise DependencyUnavailable(dependency="PostgreSQL")
        if found.card is None or not issued(checked, found):
            raise ProductNotFound
        return found.card

    async def product(self, text: str) -> UUID | None:
        """The product of a code in whatever form a person gave it; None when it is no code that we issued."""
        try:
            checked = self._check(token.fold(text))
        except TokenMalformed:
            return None
        if checked is None or not issued(checked, await self._find(checked.product_id)):
            return None
        return UUID(bytes=checked.product_id)

    def _check(self, text: str) -> Checked | None:
        try:
            return token.check(self._keyring, text)
        except token.TokenMalformedError as error:
            raise TokenMalformed from error

    async def _find(self, product_id: bytes) -> Found | None:
        try:
            return await self._cards.find(product_id)
        except CardsAwayError:
            return None

    def _sighted(self, checked: Checked, found: Found | None, caller: Caller, *, explain: bool, source: Source) -> Scan:
        card = found.card if found is not None else None
        known = circumstances(checked, card, caller)
        batch_id, factory_id = (card.raw_batch_id, card.raw_factory_id) if card is not None else (None, None)
        said = Said(
            batch_id,
            factory_id,
            caller.source if known.caller_known else None,
            caller.device,
            known.place.country if known.place is not None else "",
            source,
            known.to_dict(blocked=known.revoked or (card is not None and card.withdrawn)),
            _weights_json(card.weights) if card is not None and card.weights is not None else None,
        )
        event_id, payload = self._new_event_id(), said.to_json()
        sighting = Sighting(event_id, checked.product_id, batch_id, factory_id, known.market, caller, payload)
        return Scan(checked, found, known, sighting, explain)

    def _assess(self, card: Card | None, known: Circumstances, counts: Counts, *, explain: bool = True) -> Assessment:
        weights = card.weights if card is not None else None
        glance = self._glance if weights is None else _glance(weights)
        quiet = None if explain else glance.tell(known, counts)
        return quiet or assess(facts(known, counts), weights or self._weights)

    async def _record(self, envelope: Envelope) -> bool:
        """Writes the event of a scan that Valkey did not count, or may not have; False when it cannot be written."""
        try:
            await self._direct.record(envelope)
        except DependencyUnavailable:
            return False
        return True

    async def _peek(self, checked: Checked, found: Found | None) -> Answer:
        card = found.card if found is not None else None
        counts = await self._counters.peek(checked.product_id, card.raw_batch_id if card is not None else None)
        if counts is None:
            return self._answer(checked, found)
        return self._answer(checked, found, counts, self._assess(card, circumstances(checked, card, None), counts))

    def _answer(
        self,
        checked: Checked,
        found: Found | None,
        counts: Counts | None = None,
        assessment: Assessment | None = None,
        *,
        event_id: bytes = b"",
        recorded: bool = False,
    ) -> Answer:
        history = counts.history if counts is not None else None
        judgement = judge(checked, found, history, assessment)
        card = found.card if found is not None else None
        return Answer(judgement, card, history, self._clock.now(), assessment, recorded, event_id)


def circumstances(checked: Checked, card: Card | None, caller: Caller | None) -> Circumstances:
    """What is known of a scan before it is counted; a code that is only looked at has no `caller`."""
    caller_known, place = (True, None) if caller is None else (caller.device is not None, caller.place)
    if card is None:
        return Circumstances(caller_known, None, revoked(checked, None), "", place)
    ruling = card.ruling
    barred, cleared = (ruling.blocked, ruling.cleared) if ruling is not None else (False, 0)
    return Circumstances(caller_known, card.product_state, revoked(checked, card), card.market, place, barred, cleared)


@lru_cache(maxsize=1_024)
def _glance(weights: Weights) -> Glance:
    return Glance(weights)


@lru_cache(maxsize=1_024)
def _weights_json(weights: Weights) -> str:
    return weights.to_json()
