"""What follows from what was found: a verdict and its checks. Pure: the same findings give the same judgement."""

from enum import StrEnum
from functools import cache
from typing import NamedTuple

from scan.card import Card, Found
from scan.counts import History
from scan.risk import HISTORY, Assessment, Level
from trust.token import Checked, KeyState


class Verdict(StrEnum):
    """What we say about a code."""

    __hash__ = str.__hash__  # an Enum's own takes ten times as long, and a scan needs several

    GENUINE_CODE = "genuine"
    SUSPICIOUS = "suspicious"
    LIKELY_COPY = "likely_copy"
    BLOCKED = "blocked"
    UNKNOWN_CODE = "unknown"


class Outcome(StrEnum):
    """How a check ended."""

    __hash__ = str.__hash__  # as above

    PASSED = "passed"
    FAILED = "failed"
    NOT_CHECKED = "not_checked"


RAISED = {Level.SUSPICIOUS: Verdict.SUSPICIOUS, Level.LIKELY_COPY: Verdict.LIKELY_COPY}
"""What becomes of a code that is genuine otherwise; a risk never lowers BLOCKED, nor makes it."""


class Checks(NamedTuple):
    """The outcome of every check, in the order in which they are made."""

    tag: Outcome = Outcome.NOT_CHECKED
    product: Outcome = Outcome.NOT_CHECKED
    scan_history: Outcome = Outcome.NOT_CHECKED
    anchor: Outcome = Outcome.NOT_CHECKED


class Judgement(NamedTuple):
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


def revoked(checked: Checked, card: Card | None) -> bool:
    """Whether the key of the code is revoked, in the keyring or by our staff."""
    return checked.state is KeyState.REVOKED or (card is not None and card.ruling is not None and card.ruling.revoked)


def judge(
    checked: Checked, found: Found | None, history: History | None, assessment: Assessment | None = None
) -> Judgement:
    """The judgement on an issued token; `found` is None when PostgreSQL is away, `history` when Valkey is.

    Without an `assessment` the risk was not looked at. The scan history fails when it is what raised the verdict.
    """
    card = found.card if found is not None else None
    raised = RAISED.get(assessment.level) if assessment is not None else None
    return _judgement(
        _Findings(
            revoked=revoked(checked, card),
            withdrawn=None if card is None else card.withdrawn,
            anchored=card is not None and card.anchored,
            counted=history is not None,
            raised=raised,
            spread=raised is not None and assessment is not None and assessment.leading in HISTORY,
            fresh=found is not None and found.fresh,
        )
    )


class _Findings(NamedTuple):
    """All that a judgement rests on; `withdrawn` is None without a card."""

    revoked: bool
    withdrawn: bool | None
    anchored: bool
    counted: bool
    raised: Verdict | None
    spread: bool
    fresh: bool


@cache
def _judgement(of: _Findings) -> Judgement:
    """There are few combinations, and each is worked out once."""
    checks = Checks(
        tag=Outcome.FAILED if of.revoked else Outcome.PASSED,
        product=_outcome(known=of.withdrawn is not None, good=not of.withdrawn),
        scan_history=_outcome(known=of.counted, good=not of.spread),
        anchor=_outcome(known=of.anchored),
    )
    verdict = Verdict.BLOCKED if of.revoked or of.withdrawn else of.raised or Verdict.GENUINE_CODE
    return Judgement(verdict, checks, degraded=not of.fresh or not of.counted)


def _outcome(*, known: bool, good: bool = True) -> Outcome:
    if not known:
        return Outcome.NOT_CHECKED
    return Outcome.PASSED if good else Outcome.FAILED
