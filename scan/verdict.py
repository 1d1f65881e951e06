"""What follows from what was found: a verdict and its checks. Pure: the same findings give the same judgement."""

from dataclasses import dataclass
from enum import Enum, IntEnum

from scan.card import Found
from scan.counters import History
from trust.token import Checked, KeyState

ANCHORED = "COMPLETED"
REFUSED = frozenset({"CANCELLED", "FAILED"})


class ProductState(IntEnum):
    """The states in which nobody should have a product, as the view of product cards numbers them."""

    RECALLED = 5
    STOLEN = 6
    DESTROYED = 8


WITHDRAWN = frozenset(ProductState)


class Verdict(Enum):
    """What we say about a code."""

    GENUINE_CODE = "genuine"
    BLOCKED = "blocked"
    UNKNOWN_CODE = "unknown"


class Outcome(Enum):
    """How a check ended."""

    PASSED = "passed"
    FAILED = "failed"
    NOT_CHECKED = "not_checked"


@dataclass(frozen=True, slots=True)
class Checks:
    """The outcome of every check, in the order in which they are made."""

    tag: Outcome = Outcome.NOT_CHECKED
    product: Outcome = Outcome.NOT_CHECKED
    scan_history: Outcome = Outcome.NOT_CHECKED
    anchor: Outcome = Outcome.NOT_CHECKED


@dataclass(frozen=True, slots=True)
class Judgement:
    """A verdict, what it rests on, and whether a part of us was away so that it rests on less than usual."""

    verdict: Verdict
    checks: Checks
    degraded: bool


UNKNOWN = Judgement(Verdict.UNKNOWN_CODE, Checks(tag=Outcome.FAILED), degraded=False)
"""The one answer for a wrong tag, an unknown key and a product that does not exist: nobody learns which it was."""


def issued(checked: Checked, found: Found | None) -> bool:
    """Whether a token with a right tag is one that we issued; taken to be so while the card cannot be read.

    A card of another key means that we never issued it, although one of our keys made it.
    """
    return found is None or (found.card is not None and found.card.kid == checked.kid)


def judge(checked: Checked, found: Found | None, history: History | None) -> Judgement:
    """The judgement on an issued token; `found` is None when PostgreSQL is away, `history` when Valkey is."""
    card = found.card if found is not None else None
    revoked = checked.state is KeyState.REVOKED
    refused = card is not None and (card.batch_state in REFUSED or card.product_state in WITHDRAWN)
    checks = Checks(
        tag=Outcome.FAILED if revoked else Outcome.PASSED,
        product=_outcome(known=card is not None, good=not refused),
        scan_history=_outcome(known=history is not None),
        anchor=_outcome(known=card is not None and card.batch_state == ANCHORED),
    )
    verdict = Verdict.BLOCKED if revoked or refused else Verdict.GENUINE_CODE
    return Judgement(verdict, checks, degraded=found is None or not found.fresh or history is None)


def _outcome(*, known: bool, good: bool = True) -> Outcome:
    if not known:
        return Outcome.NOT_CHECKED
    return Outcome.PASSED if good else Outcome.FAILED
