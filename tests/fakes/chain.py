"""The real chain, with faults injected at named steps: `<method>:before` and `<method>:after`."""

from collections import defaultdict, deque
from collections.abc import Callable

from anchor.chain import Chain, Fees, Receipt, UnsignedTransaction

Fault = Callable[[], None]


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
        self.sent: list[bytes] = []
        self.kind, self.chain_id, self.contract = chain.kind, chain.chain_id, chain.contract

    def plan(self, step: str, *faults: Fault) -> None:
        self._planned[step].extend(faults)

    def spent(self) -> bool:
        return not any(self._planned.values())

    def _strike(self, step: str) -> None:
        if self._planned[step]:
            self._planned[step].popleft()()

    async def check(self, submitter: str) -> None:
        self._strike("check:before")
        await self._chain.check(submitter)
        self._strike("check:after")

    async def head(self) -> int:
        self._strike("head:before")
        head = await self._chain.head()
        self._strike("head:after")
        return head

    async def used_nonces(self, address: str) -> int:
        self._strike("used_nonces:before")
        nonces = await self._chain.used_nonces(address)
        self._strike("used_nonces:after")
        return nonces

    async def fees(self) -> Fees:
        self._strike("fees:before")
        fees = await self._chain.fees()
        self._strike("fees:after")
        return fees

    def registration(self, root: bytes, size: int, *, nonce: int, fees: Fees) -> UnsignedTransaction:
        self._strike("registration:before")
        return self._chain.registration(root, size, nonce=nonce, fees=fees)

    async def send(self, raw: bytes) -> None:
        self._strike("send:before")
        self.sent.append(raw)
        await self._chain.send(raw)
        self._strike("send:after")

    async def receipt(self, hash_: bytes) -> Receipt | None:
        self._strike("receipt:before")
        receipt = await self._chain.receipt(hash_)
        self._strike("receipt:after")
        return receipt

    async def registered(self, root: bytes) -> Receipt | None:
        self._strike("registered:before")
        receipt = await self._chain.registered(root)
        self._strike("registered:after")
        return receipt
