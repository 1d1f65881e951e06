"""The real chain, with faults injected at named steps: `<method>:before` and `<method>:after`."""

from collections import defaultdict, deque
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from anchor.chain import Chain, Fees, Receipt, UnsignedTransaction

Fault = Callable[[], Awaitable[None] | None]
Lie = Callable[[Any], Any]
"""Makes another answer of the chain's."""
T = TypeVar("T")


def raising(error: Exception) -> Fault:
    def fault() -> None:
        raise error

    return fault


def nothing() -> None:
    """Lets a step pass, so that a later one of the same name is hit."""


class FaultyChain:
    """Asks the chain it stands before; at each step the next planned fault strikes, once."""

    def __init__(self, chain: Chain) -> None:
        self._chain = chain
        self._planned: defaultdict[str, deque[Fault]] = defaultdict(deque)
        self._lies: defaultdict[str, deque[Lie]] = defaultdict(deque)
        self.sent: list[bytes] = []
        self.kind, self.chain_id, self.contract = chain.kind, chain.chain_id, chain.contract

    def plan(self, step: str, *faults: Fault) -> None:
        self._planned[step].extend(faults)

    def lie(self, step: str, *lies: Lie) -> None:
        """The next answers of a step, which is the name of a method, are others."""
        self._lies[step].extend(lies)

    def spent(self) -> bool:
        return not any(self._planned.values())

    async def _strike(self, step: str) -> None:
        if self._planned[step] and (meanwhile := self._planned[step].popleft()()) is not None:
            await meanwhile

    async def check(self, submitter: str) -> None:
        await self._through("check", lambda: self._chain.check(submitter))

    async def head(self) -> int:
        return await self._through("head", self._chain.head)

    async def finalized(self) -> int:
        return await self._through("finalized", self._chain.finalized)

    async def block_hash(self, number: int) -> bytes | None:
        return await self._through("block_hash", lambda: self._chain.block_hash(number))

    async def balance(self, address: str) -> int:
        return await self._through("balance", lambda: self._chain.balance(address))

    async def paused(self) -> bool:
        return await self._through("paused", self._chain.paused)

    async def used_nonces(self, address: str) -> int:
        return await self._through("used_nonces", lambda: self._chain.used_nonces(address))

    async def fees(self) -> Fees:
        return await self._through("fees", self._chain.fees)

    def registration(self, root: bytes, size: int, *, nonce: int, fees: Fees) -> UnsignedTransaction:
        return self._chain.registration(root, size, nonce=nonce, fees=fees)

    async def send(self, raw: bytes) -> None:
        async def send() -> None:
            self.sent.append(raw)
            await self._chain.send(raw)

        await self._through("send", send)

    async def receipt(self, hash_: bytes) -> Receipt | None:
        return await self._through("receipt", lambda: self._chain.receipt(hash_))

    async def registered(self, root: bytes) -> Receipt | None:
        return await self._through("registered", lambda: self._chain.registered(root))

    async def _through(self, step: str, ask: Callable[[], Awaitable[T]]) -> T:
        await self._strike(f"{step}:before")
        answer = await ask()
        await self._strike(f"{step}:after")
        return self._lies[step].popleft()(answer) if self._lies[step] else answer
