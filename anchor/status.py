"""How anchoring is: what waits, what is on its way, and the account that pays for it."""

from collections.abc import Mapping
from dataclasses import dataclass

from anchor.chain import Fees
from anchor.freeze import Freeze


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
class Status:
    """Ages are in seconds; `open_by_state` counts transactions that are not final; no account before the first."""

    freeze: Freeze
    pending_roots: int
    pending_seconds: float
    lag_seconds: float
    open_by_state: Mapping[str, int]
    account: ChainAccount | None
    targets: tuple[Backlog, ...]
