"""A registration of an anchored root, with everything that was signed for it."""

from dataclasses import dataclass
from datetime import datetime

from anchor.submission import Location, Progress


@dataclass(frozen=True, slots=True)
class Signed:
    """A signed transaction: hash (32 bytes), fees in wei a unit of gas, `send_time` None until a node has taken it."""

    hash: bytes
    nonce: int
    max_fee: int
    priority_fee: int
    sign_time: datetime
    send_time: datetime | None


@dataclass(frozen=True, slots=True)
class Registration:
    """A root over `size` roots, for a contract, by a sender (addresses in EIP-55). `location` from MINED on."""

    anchor_root: bytes
    size: int
    progress: Progress
    chain_id: int
    contract: str
    sender: str
    location: Location | None
    attempts: tuple[Signed, ...]
