"""A chain within this process: a real EVM (py-evm by eth-tester), for demos and tests. It ends with the process.

The key and so the contract's address are always the same. After a restart the chain is a new one without any
registration: the submitter finds that, and registers again what it has.
"""

from typing import Any

from eth_account import Account as Key
from eth_tester import EthereumTester, PyEVMBackend
from eth_tester.exceptions import TransactionFailed
from eth_utils.crypto import keccak
from eth_utils.exceptions import ValidationError
from web3 import AsyncWeb3
from web3.providers.eth_tester import AsyncEthereumTesterProvider

from anchor.chain import NonceUsedError, OutOfFundsError, TransactionRefusedError, UnderpricedError
from anchor.contract import Deployment, anchor_registry
from anchor.deployment import Deployer
from anchor.evm import EvmChain
from anchor.signer import KeySigner

FUNDS = 1_000 * 10**18
GIFT = {"gas": 21_000, "max_fee_per_gas": 10**10, "max_priority_fee_per_gas": 10**9}
REFUSALS: tuple[tuple[str, type[TransactionRefusedError]], ...] = (
    ("lower than block's base fee", UnderpricedError),
    ("cannot afford", OutOfFundsError),
)


class MemoryChain(EvmChain):
    """See Chain. Every transaction is a block of its own, and every look at the head lets another one pass."""

    kind = "memory"

    def __init__(self, web3: Any, tester: EthereumTester, deployment: Deployment, *, gas: int) -> None:
        super().__init__(web3, deployment, anchor_registry(), gas=gas)
        self._tester = tester

    @classmethod
    async def start(cls, *, gas: int) -> tuple["MemoryChain", KeySigner]:
        """A new chain with the contract on it, and the key that may write to it."""
        tester, provider = EthereumTester(PyEVMBackend()), AsyncEthereumTesterProvider()
        provider.ethereum_tester = tester
        web3: Any = AsyncWeb3(provider)
        signer = KeySigner(Key.from_key(keccak(b"voketag/memory/v1")))
        rich = tester.get_accounts()[0]
        tester.send_transaction({"from": rich, "to": signer.address, "value": FUNDS, **GIFT})
        deployment = await Deployer(web3, signer, anchor_registry(), await web3.eth.chain_id).deploy(None)
        return cls(web3, tester, deployment, gas=gas), signer

    async def head(self) -> int:
        """See Chain."""
        self._tester.mine_block()
        return await super().head()

    async def send(self, raw: bytes) -> None:
        """See Chain. It has no mempool: what it takes is in a block."""
        try:
            await super().send(raw)
        except (ValidationError, TransactionFailed) as error:
            raise _refusal(str(error)) from None


def _refusal(text: str) -> TransactionRefusedError:
    match text.split():
        case ["Invalid", "transaction", "nonce:", "Expected", wanted, "but", "got", given]:
            used = int(given) < int(wanted.rstrip(","))
            return NonceUsedError(text) if used else TransactionRefusedError(text)
    return next((kind for words, kind in REFUSALS if words in text), TransactionRefusedError)(text)
