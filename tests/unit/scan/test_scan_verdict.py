"""Judgements: every combination of what may be found."""

from itertools import product
from uuid import UUID

import pytest

from scan.card import Card, Found
from scan.counts import History
from scan.factors import ProductState
from scan.verdict import UNKNOWN, Outcome, Verdict, issued, judge
from trust.keyring import KeyState
from trust.token import Checked

P, F, N = Outcome.PASSED, Outcome.FAILED, Outcome.NOT_CHECKED
ID = UUID(int=5)
HISTORY = History(2, 1_767_225_600_000_000)
STATES = ("RECEIVING", "PENDING", "PROCESSING", "ANCHORING", "COMPLETED", "FAILED", "CANCELLED")


def card(state: str = "COMPLETED", kid: int = 1, product_state: int = 0) -> Card:
    return Card(ID, UUID(int=7), UUID(int=9), 0, kid, ProductState(product_state), state, "Factory", {})


def code(state: KeyState = KeyState.SIGNING) -> Checked:
    return Checked(ID.bytes, 1, state)


@pytest.mark.parametrize(("state", "fresh", "key"), list(product(STATES, [True, False], KeyState)))
def test_what_speaks_against_a_code_blocks_it(state: str, fresh: bool, key: KeyState) -> None:
    refused, revoked = state in {"FAILED", "CANCELLED"}, key is KeyState.REVOKED
    judgement = judge(code(key), Found(card(state), fresh), HISTORY)
    assert judgement.verdict is (Verdict.BLOCKED if refused or revoked else Verdict.GENUINE_CODE)
    anchor = P if state == "COMPLETED" else N
    assert judgement.checks == (F if revoked else P, F if refused else P, P, anchor)
    assert judgement.degraded is not fresh


@pytest.mark.parametrize("number", range(9))
def test_product_that_nobody_should_have_is_blocked(number: int) -> None:
    withdrawn = number in {5, 6, 8}
    judgement = judge(code(), Found(card(product_state=number), True), HISTORY)
    assert judgement.verdict is (Verdict.BLOCKED if withdrawn else Verdict.GENUINE_CODE)
    assert judgement.checks == (P, F if withdrawn else P, P, P)


def test_valkey_away() -> None:
    judgement = judge(code(), Found(card(), True), None)
    assert (judgement.verdict, judgement.degraded) == (Verdict.GENUINE_CODE, True)
    assert judgement.checks == (P, P, N, P)


def test_postgresql_away_and_the_product_not_remembered() -> None:
    judgement = judge(code(), None, HISTORY)
    assert (judgement.verdict, judgement.degraded) == (Verdict.GENUINE_CODE, True)
    assert judgement.checks == (P, N, P, N)
    assert judge(code(KeyState.REVOKED), None, None).verdict is Verdict.BLOCKED


def test_who_issued_it() -> None:
    assert issued(code(), Found(card(), True))
    assert issued(code(), None)
    assert not issued(code(), Found(None, True))
    assert not issued(code(), Found(card(kid=2), True)), "one of our keys, not the one it was issued under"


def test_unknown_tells_nothing_apart() -> None:
    assert UNKNOWN.checks == (F, N, N, N)
    assert not UNKNOWN.degraded
