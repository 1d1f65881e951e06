"""How anchoring is: what waits, what is on its way, and the account that pays for it."""

from collections.abc import Mapping
from dataclasses import dataclass

from anchor.chain import Fees
from anchor.freeze import Freeze

OPEN = ("built", "signed", "sent", "mined")
"""The states of transactions that are not final."""


@dataclass(frozen=True, slots=True)
class ChainAccount:
    """Who writes to which contract (addresses in EIP-55); `next_nonce` is one more than the highest of ours."""

    target: str
    chain_id: int
    address: str
    contract: str
    next_nonce: int


@dataclass(frozen=True, slots=True)
class View:
    """What a node says of an account: `balance` in wei, `fees` that should do now."""

    head: int
    balance: int
    used_nonces: int
    fees: Fees


@dataclass(frozen=True, slots=True)
class Backlog:
    """Trees that are not final at a target, and the age of the oldest in seconds."""

    target: str
    trees: int
    seconds: float


@dataclass(frozen=True, slots=True)
class ChainStatus:
    """A chain as our rows have it; `lag_seconds` is the age of its oldest root that has a tree and is not final there.

    `open_by_state` has every state in OPEN.
    """

    account: ChainAccount
    open_by_state: Mapping[str, int]
    lag_seconds: float


@dataclass(frozen=True, slots=True)
class Status:
    """Ages are in seconds; `chains` are those that a transaction was ever made for, that of the newest first."""

    freeze: Freeze
    pending_roots: int
    pending_seconds: float
    lag_seconds: float
    chains: tuple[ChainStatus, ...]
    targets: tuple[Backlog, ...]

    @property
    def account(self) -> ChainAccount | None:
        """That of the newest transaction."""
        return self.chains[0].account if self.chains else None

    @property
    def open_by_state(self) -> dict[str, int]:
        """How many transactions of all chains are in each of OPEN."""
        return {state: sum(chain.open_by_state[state] for chain in self.chains) for state in OPEN}
