"""How long `check` takes says nothing about what is wrong with a tag.

An unknown kid takes some 20 ns of 1,250 longer, its key being seldom used. Which kids there are stands on every code.
"""

import gc
import random
import time
from collections.abc import Callable
from contextlib import suppress
from itertools import combinations
from statistics import median

import pytest

from tests.rank import likelihood
from trust.keyring import Keyring
from trust.token import Token, TokenMalformedError, check, decode, encode, issue

RING = Keyring.from_json('{"keys": [{"kid": 1, "key": "' + "A" * 43 + '=", "state": "signing"}]}')
ANOTHER = Keyring.from_json('{"keys": [{"kid": 1, "key": "' + "B" * 43 + '=", "state": "signing"}]}')
ROUNDS, ALIKE, APART, NEAR = 5_000, 0.1, 0.3, 0.1
DICE = random.Random(1)


def tampered(place: int) -> str:
    """A right token but for one byte of its tag."""
    token = decode(issue(RING, DICE.randbytes(16)))
    tag = bytearray(token.tag)
    tag[place] ^= 1
    return encode(Token(token.kid, token.product_id, bytes(tag)))


OF_A_KEY = ("first byte wrong", "last byte wrong", "another ring", "nothing")
KINDS: dict[str, Callable[[], str]] = {
    "first byte wrong": lambda: tampered(0),
    "last byte wrong": lambda: tampered(-1),
    "unknown kid": lambda: encode(Token(200, DICE.randbytes(16), DICE.randbytes(14))),
    "another ring": lambda: issue(ANOTHER, DICE.randbytes(16)),
    "nothing": lambda: encode(Token(1, DICE.randbytes(16), DICE.randbytes(14))),
}


def seconds(text: str) -> int:
    begun = time.perf_counter_ns()
    with suppress(TokenMalformedError):
        check(RING, text)
    return time.perf_counter_ns() - begun


def test_wrong_tags_cannot_be_told_apart() -> None:
    """In turn and in a new order each round, so that whatever else the machine does falls on all alike."""
    texts = {name: [make() for _ in range(ROUNDS)] for name, make in KINDS.items()}
    texts["malformed"] = ["0"] * ROUNDS
    took: dict[str, list[int]] = {name: [] for name in texts}
    gc.collect()
    for number in range(ROUNDS):
        for name in DICE.sample([*texts], k=len(texts)):
            took[name].append(seconds(texts[name][number]))
    told = {pair: likelihood(took[pair[0]], took[pair[1]]) for pair in combinations(OF_A_KEY, 2)}
    assert all(abs(each - 0.5) < ALIKE for each in told.values()), told
    usual = {name: median(took[name]) for name in KINDS}
    assert max(usual.values()) < (1 + NEAR) * min(usual.values()), usual
    assert abs(likelihood(took["malformed"], took["nothing"]) - 0.5) > APART, "the clock sees what is there to see"


@pytest.mark.parametrize(
    ("some", "others", "likely"), [([1, 2], [3, 4], 0), ([3, 4], [1, 2], 1), ([1, 3], [2], 0.5), ([5, 5], [5], 0.5)]
)
def test_ranks(some: list[float], others: list[float], likely: float) -> None:
    assert likelihood(some, others) == likely
