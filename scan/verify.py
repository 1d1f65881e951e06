"""The path of one scan: tag, card, counters, risk, verdict."""

from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

from mesh.clock import Clock
from mesh.errors import DependencyUnavailable, ProductNotFound, TokenMalformed
from scan.caller import Caller
from scan.card import Card, Cards, CardsAwayError, Found
from scan.counters import Counters, History, RawIdSource, Sighting
from scan.counts import Circumstances, Counts, facts
from scan.direct import Direct
from scan.event import Envelope, Said, Source
from scan.factors import ProductState
from scan.risk import Assessment, Weights, assess
from scan.verdict import UNKNOWN, Judgement, blocked, issued, judge
from trust import token
from trust.keyring import Keyring, KeyState
from trust.token import Checked

MARKET = "market"


@dataclass(frozen=True, slots=True)
class Answer:
    """What is said of a code.

    No `card` unless the product is known; no `history` and no `assessment` where it was not looked at. `recorded`: the
    scan is in the journal, or will be.
    """

    judgement: Judgement
    card: Card | None
    history: History | None
    checked_at: datetime
    assessment: Assessment | None = None
    recorded: bool = False
    event_id: bytes = b""


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
        self._new_event_id = new_event_id

    async def scan(self, text: str, caller: Caller, *, typed: bool = False, source: Source = Source.UNARY) -> Answer:
        """Judges a code and counts the scan, which it takes from the budgets of the caller, the code and its factory.

        Raises TokenMalformed, RateLimited.
        """
        checked = self._check(token.fold(text) if typed else text)
        if checked is not None:
            found = await self._find(checked.product_id)
            if issued(checked, found):
                return await self._count(checked, found, caller, source)
        await self._counters.probe(caller)
        return Answer(UNKNOWN, None, None, self._clock.now())

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

    async def _count(self, checked: Checked, found: Found | None, caller: Caller, source: Source) -> Answer:
        card = found.card if found is not None else None
        known = circumstances(checked, card, caller)
        batch_id = card.batch_id.bytes if card is not None else None
        factory_id = card.factory_id.bytes if card is not None else None
        said = Said(
            batch_id=batch_id,
            factory_id=factory_id,
            prefix=caller.source if known.caller_known else None,
            device=caller.device,
            country=caller.place.country if caller.place is not None else "",
            source=source,
            facts=known.to_dict(blocked=blocked(checked, card)),
            weights=card.weights.to_json() if card is not None and card.weights is not None else None,
        )
        event_id, payload = self._new_event_id(), said.to_json()
        told = await self._counters.scan(
            Sighting(event_id, checked.product_id, batch_id, factory_id, known.market, caller, payload)
        )
        if told is None:
            recorded = await self._record(Envelope(event_id, checked.product_id, payload))
            return replace(self._answer(checked, found, None, None), recorded=recorded, event_id=event_id)
        counts = Counts.read(told)
        history, assessment = History(counts.scans, counts.first_at), assess(facts(known, counts), self._weigh(card))
        return replace(self._answer(checked, found, history, assessment), recorded=True, event_id=event_id)

    async def _record(self, envelope: Envelope) -> bool:
        """Writes the event of a scan that Valkey did not count, or may not have; False when it cannot be written."""
        try:
            await self._direct.record(envelope)
        except DependencyUnavailable:
            return False
        return True

    async def _peek(self, checked: Checked, found: Found | None) -> Answer:
        card = found.card if found is not None else None
        counts = await self._counters.peek(checked.product_id, card.batch_id.bytes if card is not None else None)
        if counts is None:
            return self._answer(checked, found, None, None)
        history = History(counts.scans, counts.first_at if counts.first else None)
        return self._answer(
            checked, found, history, assess(facts(circumstances(checked, card, None), counts), self._weigh(card))
        )

    def _weigh(self, card: Card | None) -> Weights:
        return card.weights if card is not None and card.weights is not None else self._weights

    def _answer(
        self, checked: Checked, found: Found | None, history: History | None, assessment: Assessment | None
    ) -> Answer:
        card = found.card if found is not None else None
        return Answer(judge(checked, found, history, assessment), card, history, self._clock.now(), assessment)


def circumstances(checked: Checked, card: Card | None, caller: Caller | None) -> Circumstances:
    """What is known of a scan before it is counted; a code that is only looked at has no `caller`."""
    return Circumstances(
        caller_known=caller is None or caller.device is not None,
        state=ProductState(card.product_state) if card is not None else None,
        revoked=checked.state is KeyState.REVOKED,
        market=card.attributes.get(MARKET, "") if card is not None else "",
        place=caller.place if caller is not None else None,
    )
