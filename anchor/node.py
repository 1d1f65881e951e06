"""What the server asks of a chain's node, at the moment of a call. It signs nothing and has no key."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Protocol

from anchor.chain import Chain, ChainUnavailableError
from anchor.status import ChainAccount, View
from anchor.submission import Location
from mesh.errors import DependencyUnavailable, RateLimited

AT_ONCE = 16
BUSY_SECONDS = 1.0


class Reader(Protocol):
    """A node of some chain."""

    async def open(self, chain_id: int, contract: str) -> Chain:
        """The contract at an address. Raises ChainUnavailableError when this is no node of that chain."""
        ...


class Node:
    """Asks one node, or none; at most `at_once` questions at once, since the public may ask and a provider may charge.

    All raise DependencyUnavailable when no node of that chain answers, RateLimited when too many ask.
    """

    def __init__(self, reader: Reader | None, *, at_once: int = AT_ONCE) -> None:
        self._reader = reader
        self._free = at_once

    async def registered(self, chain_id: int, contract: str, root: bytes) -> Location | None:
        """Where `contract` has registered a root; None when it has not."""
        async with self._on(chain_id, contract) as chain:
            receipt = await chain.registered(root)
        if receipt is None:
            return None
        return Location(chain.kind, chain_id, chain.contract, receipt.hash, receipt.block_number)

    async def view(self, account: ChainAccount) -> View:
        """What the chain says of an account."""
        async with self._on(account.chain_id, account.contract) as chain:
            return View(
                await chain.head(),
                await chain.balance(account.address),
                await chain.used_nonces(account.address),
                await chain.fees(),
            )

    @asynccontextmanager
    async def _on(self, chain_id: int, contract: str) -> AsyncIterator[Chain]:
        if self._reader is None:
            raise DependencyUnavailable(dependency=f"A node of chain {chain_id}")
        if self._free == 0:
            raise RateLimited(seconds=BUSY_SECONDS, retry_after=BUSY_SECONDS)
        self._free -= 1
        try:
            yield await self._reader.open(chain_id, contract)
        except ChainUnavailableError as error:
            raise DependencyUnavailable(dependency=f"A node of chain {chain_id}") from error
        finally:
            self._free += 1
