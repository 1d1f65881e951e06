"""The path of one scan: tag, card, counters, verdict."""

from dataclasses import dataclass
from datetime import datetime

from mesh.clock import Clock
from mesh.errors import DependencyUnavailable, ProductNotFound, TokenMalformed
from scan.card import Card, Cards, CardsAwayError, Found
from scan.counters import Counters, History
from scan.verdict import UNKNOWN, Judgement, issued, judge
from trust import token
from trust.keyring import Keyring
from trust.token import Checked


@dataclass(frozen=True, slots=True)
class Answer:
    """What is said of a code. No `card` unless the product is known; no `history` where it was not looked at."""

    judgement: Judgement
    card: Card | None
    history: History | None
    checked_at: datetime


class Verifier:
    """Judges codes."""

    def __init__(self, keyring: Keyring, cards: Cards, counters: Counters, clock: Clock) -> None:
        self._keyring = keyring
        self._cards = cards
        self._counters = counters
        self._clock = clock

    async def scan(self, text: str, prefix: str, *, typed: bool = False) -> Answer:
        """Judges a code and counts the scan, taken from the budget of the caller's address prefix.

        Raises TokenMalformed, RateLimited.
        """
        checked = self._check(token.fold(text) if typed else text)
        if checked is not None:
            found = await self._find(checked.product_id)
            if issued(checked, found):
                return self._answer(checked, found, await self._counters.scan(checked.product_id, prefix))
        await self._counters.probe(prefix)
        return self._unknown()

    async def look(self, text: str) -> Answer:
        """Judges a code in whatever form a person gave it, and counts nothing. Raises TokenMalformed."""
        checked = self._check(token.fold(text))
        if checked is not None:
            found = await self._find(checked.product_id)
            if issued(checked, found):
                return self._answer(checked, found, await self._counters.peek(checked.product_id))
        return self._unknown()

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

    def _answer(self, checked: Checked, found: Found | None, history: History | None) -> Answer:
        card = found.card if found is not None else None
        return Answer(judge(checked, found, history), card, history, self._clock.now())

    def _unknown(self) -> Answer:
        return Answer(UNKNOWN, None, None, self._clock.now())
