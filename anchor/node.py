"""What the server asks of the chains' nodes, at the moment of a call. It signs nothing and has no key."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Protocol

from anchor.chain import Chain, ChainUnavailableError
from anchor.evidence import Place
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


@dataclass(slots=True)
class _Node:
    """A node, and how many more questions it may be asked at once."""

    reader: Reader
    free: int


class Nodes:
    """Asks the chains' nodes, by target; at most `at_once` questions of each at once.

    The public may ask, and a provider may charge. Questions to one chain raise DependencyUnavailable when no node of it
    answers, RateLimited when too many ask.
    """

    def __init__(self, readers: Mapping[str, Reader], *, at_once: int = AT_ONCE) -> None:
        self._nodes = {target: _Node(reader, at_once) for target, reader in readers.items()}

    async def registered(self, place: Place, root: bytes) -> Location | None:
        """Where the contract at a place has registered a root; None when it has not, or there is none yet."""
        if place.contract is None:
            return None
        async with self._on(place.target, *place.contract) as chain:
            receipt = await chain.registered(root)
        if receipt is None:
            return None
        return Location(chain.kind, chain.chain_id, chain.contract, receipt.hash, receipt.block_number)

    async def view(self, account: ChainAccount) -> View:
        """What the chain says of an account."""
        async with self._on(account.target, account.chain_id, account.contract) as chain:
            return View(
                await chain.head(),
                await chain.balance(account.address),
                await chain.used_nonces(account.address),
                await chain.fees(),
            )

    async def views(self, accounts: Iterable[ChainAccount]) -> dict[str, View]:
        """What every chain says of its account, by target, all asked at once; those that do not answer are left out."""
        found: dict[str, View] = {}

        async def look(account: ChainAccount) -> None:
            with suppress(DependencyUnavailable, RateLimited):
                found[account.target] = await self.view(account)

        async with asyncio.TaskGroup() as group:
            for account in accounts:
                group.create_task(look(account))
        return found

    @asynccontextmanager
    async def _on(self, target: str, chain_id: int, contract: str) -> AsyncIterator[Chain]:
        node = self._nodes.get(target)
        if node is None:
            raise DependencyUnavailable(dependency=f"A node of chain {chain_id}")
        if node.free == 0:
            raise RateLimited(seconds=BUSY_SECONDS, retry_after=BUSY_SECONDS)
        node.free -= 1
        try:
            yield await node.reader.open(chain_id, contract)
        except ChainUnavailableError as error:
            raise DependencyUnavailable(dependency=f"A node of chain {chain_id}") from error
        finally:
            node.free += 1
