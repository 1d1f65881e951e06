"""A tree's transaction: how far it is, and everything ever signed for it."""

from dataclasses import dataclass
from enum import StrEnum

from anchor.chain import Fees

BUMP_PER_MILLE = 1125
"""A replacement pays at least 12.5 % more in both fees, which is what the strictest nodes ask for."""


class State(StrEnum):
    """How far a transaction is. The legal steps are in the database (`anchor.check_step`)."""

    BUILT = "built"
    SIGNED = "signed"
    SENT = "sent"
    MINED = "mined"
    FINAL = "final"


@dataclass(frozen=True, slots=True)
class Transaction:
    """The registration of a tree. `hash` and the block's number and hash say where it stands, from MINED on."""

    tree_id: int
    root: bytes
    size: int
    state: State
    nonce: int | None
    hash: bytes | None
    block_number: int | None
    block_hash: bytes | None


@dataclass(frozen=True, slots=True)
class Attempt:
    """One signed transaction for a nonce. `sent_seconds_ago` is None until a node has taken it."""

    number: int
    nonce: int
    hash: bytes
    raw: bytes
    fees: Fees
    sent_seconds_ago: float | None


def capped(fees: Fees, max_fee: int) -> Fees:
    """The fees, neither above `max_fee` wei a unit of gas."""
    return Fees(min(fees.max_fee, max_fee), min(fees.priority_fee, max_fee))


def bumped(last: Fees, now: Fees, max_fee: int) -> Fees | None:
    """Fees that replace a transaction which paid `last` while `now` would do; None when that breaks the cap."""
    replacing = Fees(_bump(last.max_fee), _bump(last.priority_fee))
    if replacing.max_fee > max_fee:
        return None
    wanted = Fees(max(now.max_fee, replacing.max_fee), max(now.priority_fee, replacing.priority_fee))
    return capped(wanted, max_fee)


def _bump(fee: int) -> int:
    # A fee of 0 has to rise too.
    return max(-(-fee * BUMP_PER_MILLE // 1000), fee + 1)
