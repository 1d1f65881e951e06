"""Texts that are and are not tokens, each with what must be said of it, known from how it was made."""

import random
from collections.abc import Callable, Sequence
from uuid import UUID

from tests.integration.scan.world import token_of
from trust.keyring import Keyring
from trust.token import ALPHABET, LENGTH, Token, decode, encode, issue

OURS, UNKNOWN, MALFORMED = "ours", "unknown", "malformed"
WHOLE = ALPHABET[::4]
"""What a token may end with: its last two bits are zero."""
FOREIGN = [*"ILOUabz_+-= .\0\n\x7f", "é", "٣", "３", "Ａ", "\u200b", "\U0001f600", "\ufeff"]
ANOTHER_RING = Keyring.from_json('{"keys": [{"kid": 1, "key": "' + "Z" * 43 + '=", "state": "signing"}]}')


class Mangler:
    """Makes texts by a seed out of tokens that were issued."""

    def __init__(self, seed: int, issued: Sequence[str]) -> None:
        self._dice = random.Random(seed)
        self._issued = issued
        self.kinds: dict[Callable[[], str], str] = {
            self.issued: OURS,
            self.drawn: UNKNOWN,
            self.changed: UNKNOWN,
            self.swapped: UNKNOWN,
            self.flipped: UNKNOWN,
            self.of_another_ring: UNKNOWN,
            self.never_issued: UNKNOWN,
            self.with_spare_bits: MALFORMED,
            self.cut: MALFORMED,
            self.longer: MALFORMED,
            self.with_foreign_character: MALFORMED,
        }

    def some(self, count: int) -> list[tuple[str, str]]:
        """Texts of all kinds, each with what it is."""
        return [(kind(), of) for kind, of in self._dice.choices([*self.kinds.items()], k=count)]

    def issued(self) -> str:
        return self._dice.choice(self._issued)

    def drawn(self) -> str:
        """50 characters of the alphabet."""
        return "".join(self._dice.choices(ALPHABET, k=LENGTH - 1)) + self._dice.choice(WHOLE)

    def with_spare_bits(self) -> str:
        return self.issued()[:-1] + self._dice.choice([each for each in ALPHABET if each not in WHOLE])

    def changed(self) -> str:
        """Another character in one place."""
        text, place = self.issued(), self._dice.randrange(LENGTH - 1)
        return text[:place] + self._dice.choice(ALPHABET.replace(text[place], "")) + text[place + 1 :]

    def swapped(self) -> str:
        """Two neighbours that differ change places, as typists do."""
        text = self.issued()
        place = self._dice.choice([at for at in range(LENGTH - 2) if text[at] != text[at + 1]])
        return text[:place] + text[place + 1] + text[place] + text[place + 2 :]

    def flipped(self) -> str:
        """One bit of the 31 bytes."""
        token = decode(self.issued())
        raw = bytearray(bytes((token.kid,)) + token.product_id + token.tag)
        raw[self._dice.randrange(len(raw))] ^= 1 << self._dice.randrange(8)
        return encode(Token(raw[0], bytes(raw[1:17]), bytes(raw[17:])))

    def of_another_ring(self) -> str:
        """A right tag of a product of ours, under keys that are not."""
        return issue(ANOTHER_RING, decode(self.issued()).product_id)

    def never_issued(self) -> str:
        """A right tag under our key, of a product that does not exist."""
        return token_of(UUID(bytes=self._dice.randbytes(16)))

    def cut(self) -> str:
        return self.issued()[: self._dice.randrange(LENGTH)]

    def longer(self) -> str:
        return self.issued() + "".join(self._dice.choices(ALPHABET, k=self._dice.choice((1, 2, 50, 2_000))))

    def with_foreign_character(self) -> str:
        text, place = self.issued(), self._dice.randrange(LENGTH)
        return text[:place] + self._dice.choice(FOREIGN) + text[place + 1 :]
