"""The chain as a verifier needs it: where a root was registered, if anywhere."""

from typing import Protocol


class ChainUnreachableError(Exception):
    """The chain gave no usable answer, so nothing is known; the message says which endpoint and why."""


class ChainReader(Protocol):
    """Reads one EVM chain; each method raises ChainUnreachableError if it gets no usable answer."""

    def chain_id(self) -> int:
        """Give the chain's id (EIP-155)."""
        ...

    def block_of(self, contract: str, root: bytes) -> int | None:
        """Give the block in which `contract` (0x and 40 hex digits) registered `root`, None if it did not."""
        ...
