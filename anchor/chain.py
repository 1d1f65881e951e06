"""What the submitter needs of a chain, and how a chain refuses."""

from dataclasses import dataclass, field
from typing import Protocol

from anchor.target import TargetUnavailableError


class ChainError(Exception):
    """A chain did not do what it was asked."""


class ChainUnavailableError(ChainError, TargetUnavailableError):
    """No usable answer came: try again later. What was sent may have arrived."""


class ChainContradictedError(ChainUnavailableError):
    """The node's answers do not fit together, as during a reorganisation or when it lies: believe none of them."""

    kind = "contradicted"


class TransactionRefusedError(ChainError):
    """The node refused a transaction for a reason of its own."""


class TransactionKnownError(TransactionRefusedError):
    """The node already has this very transaction."""


class NonceUsedError(TransactionRefusedError):
    """A transaction with this nonce stands in a block; it may be this one."""


class UnderpricedError(TransactionRefusedError):
    """The fees are too low, for the node or to replace what it has."""


class OutOfFundsError(TransactionRefusedError):
    """The account cannot pay for the transaction."""


class ContractPausedError(TransactionRefusedError):
    """The contract takes no roots until its submitter resumes it."""


class ChainMismatchError(Exception):
    """The chain, the contract or the key is not the one that the settings name: nothing may be sent."""


@dataclass(frozen=True, slots=True)
class Fees:
    """EIP-1559 fees, wei a unit of gas. `priority_fee` <= `max_fee`."""

    max_fee: int
    priority_fee: int


@dataclass(frozen=True, slots=True)
class UnsignedTransaction:
    """An EIP-1559 transaction to a contract, carrying no value. `to` is 0x and 40 hex digits (EIP-55)."""

    chain_id: int
    nonce: int
    to: str
    data: bytes
    gas: int
    fees: Fees


@dataclass(frozen=True, slots=True)
class Receipt:
    """Where a transaction stands: its hash (32 bytes), its block by number and hash, and whether it did its work.

    What it cost is told beside that, where it is known: units of gas, and wei for each. Two are equal whatever it was.
    """

    hash: bytes
    block_number: int
    block_hash: bytes
    succeeded: bool
    gas_used: int | None = field(default=None, compare=False)
    gas_price: int | None = field(default=None, compare=False)


class Chain(Protocol):
    """One contract on one chain. Every method raises ChainUnavailableError when no usable answer comes."""

    kind: str
    """Kind of chain, as the contract of the API names it: "evm" or "memory"."""
    chain_id: int
    contract: str

    async def check(self, submitter: str) -> None:
        """Raises ChainMismatchError unless chain id, contract code and the contract's submitter are the expected."""
        ...

    async def head(self) -> int:
        """Number of the newest block."""
        ...

    async def finalized(self) -> int:
        """Number of the newest block that the chain's consensus calls final (the tag `finalized`)."""
        ...

    async def block_hash(self, number: int) -> bytes | None:
        """Hash (32 bytes) of the block with this number; None when there is none."""
        ...

    async def balance(self, address: str) -> int:
        """What the account has, in wei."""
        ...

    async def paused(self) -> bool:
        """Whether the contract takes no roots for now."""
        ...

    async def used_nonces(self, address: str) -> int:
        """How many nonces of `address` stand in blocks; the lowest unused one."""
        ...

    async def fees(self) -> Fees:
        """Fees that should do now; not capped."""
        ...

    def registration(self, root: bytes, size: int, *, nonce: int, fees: Fees) -> UnsignedTransaction:
        """The transaction that registers `root` (32 bytes) over `size` leaves."""
        ...

    async def send(self, raw: bytes) -> None:
        """Hands a signed transaction to the node. Raises TransactionRefusedError, by its subclasses."""
        ...

    async def receipt(self, hash_: bytes) -> Receipt | None:
        """Where the transaction with this hash stands now; None when it is in no block."""
        ...

    async def registered(self, root: bytes) -> Receipt | None:
        """Where `root` is registered, whoever sent that; None when it is not."""
        ...
