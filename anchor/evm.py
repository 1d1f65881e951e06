"""The real chain: web3.py over JSON-RPC to an EVM node."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from aiohttp import ClientError, ClientResponseError, ClientTimeout
from eth_typing import HexStr
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak
from hexbytes import HexBytes
from web3 import AsyncHTTPProvider, AsyncWeb3
from web3.exceptions import BlockNotFound, TransactionNotFound, Web3Exception, Web3RPCError

from anchor.chain import (
    ChainMismatchError,
    ChainUnavailableError,
    Fees,
    NonceUsedError,
    OutOfFundsError,
    Receipt,
    TransactionKnownError,
    TransactionRefusedError,
    UnderpricedError,
    UnsignedTransaction,
)
from anchor.contract import Artifact, Deployment

# No standard gives these refusals codes; the words are those of geth, erigon, nethermind, besu, reth and anvil.
REFUSALS: tuple[tuple[str, type[TransactionRefusedError]], ...] = (
    ("already known", TransactionKnownError),
    ("already imported", TransactionKnownError),
    ("alreadyknown", TransactionKnownError),
    ("known transaction", TransactionKnownError),
    ("nonce too low", NonceUsedError),
    ("nonce_too_low", NonceUsedError),
    ("oldnonce", NonceUsedError),
    ("underpriced", UnderpricedError),
    ("less than block base fee", UnderpricedError),
    ("fee too low", UnderpricedError),
    ("feetoolow", UnderpricedError),
    ("insufficient funds", OutOfFundsError),
    ("insufficientfunds", OutOfFundsError),
    ("upfront cost exceeds account balance", OutOfFundsError),
)


def web3_over_http(url: str, timeout_seconds: float) -> AsyncWeb3[AsyncHTTPProvider]:
    """A client that asks once and never retries by itself: the submitter decides what to do again."""
    options = {"timeout": ClientTimeout(total=timeout_seconds)}
    return AsyncWeb3(AsyncHTTPProvider(url, options, exception_retry_configuration=None))


@contextmanager
def asking() -> Iterator[None]:
    """Turns whatever goes wrong into ChainUnavailableError, without the node's URL, which may hold a provider's key."""
    try:
        yield
    except ClientResponseError as error:
        raise ChainUnavailableError(f"the node answered HTTP {error.status}") from None
    except (Web3Exception, ClientError, TimeoutError, OSError, ValueError, TypeError, LookupError) as error:
        raise ChainUnavailableError(f"{type(error).__name__}: {error}") from None


def refusal(error: Web3RPCError) -> TransactionRefusedError:
    """What a node's refusal of a transaction means."""
    text = str(error)
    lower = text.lower()
    return next((kind for words, kind in REFUSALS if words in lower), TransactionRefusedError)(text)


class EvmChain:
    """The AnchorRegistry at one address; see Chain. `gas` is the limit for one registration."""

    kind = "evm"

    def __init__(
        self, web3: AsyncWeb3[AsyncHTTPProvider], deployment: Deployment, artifact: Artifact, *, gas: int
    ) -> None:
        self.chain_id = deployment.chain_id
        self.contract: str = to_checksum_address(deployment.contract)
        self._web3 = web3
        self._code_hash = artifact.deployed_code_hash
        self._registry = web3.eth.contract(to_checksum_address(deployment.contract), abi=artifact.abi)
        self._gas = gas

    async def close(self) -> None:
        """Closes the connections to the node."""
        await self._web3.provider.disconnect()

    async def check(self, submitter: str) -> None:
        """See Chain."""
        with asking():
            chain_id = await self._web3.eth.chain_id
            code = await self._web3.eth.get_code(self._registry.address)
        if chain_id != self.chain_id:
            raise ChainMismatchError(f"the node is on chain {chain_id}, the settings say {self.chain_id}")
        if not code:
            raise ChainMismatchError(f"there is no contract at {self.contract} on chain {chain_id}")
        if keccak(code) != self._code_hash:
            raise ChainMismatchError(f"the code at {self.contract} is not that of this AnchorRegistry")
        with asking():
            holder = await self._registry.functions.submitter().call()
        if holder != submitter:
            raise ChainMismatchError(f"the contract takes roots from {holder} alone, the chain key is {submitter}")

    async def head(self) -> int:
        """See Chain."""
        with asking():
            return int(await self._web3.eth.block_number)

    async def finalized(self) -> int:
        """See Chain."""
        with asking():
            return int((await self._web3.eth.get_block("finalized"))["number"])

    async def block_hash(self, number: int) -> bytes | None:
        """See Chain."""
        with asking():
            try:
                return bytes((await self._web3.eth.get_block(number))["hash"])
            except BlockNotFound:
                return None

    async def balance(self, address: str) -> int:
        """See Chain."""
        with asking():
            return int(await self._web3.eth.get_balance(to_checksum_address(address)))

    async def paused(self) -> bool:
        """See Chain."""
        with asking():
            return bool(await self._registry.functions.paused().call())

    async def used_nonces(self, address: str) -> int:
        """See Chain."""
        with asking():
            return int(await self._web3.eth.get_transaction_count(to_checksum_address(address), "latest"))

    async def fees(self) -> Fees:
        """The node's tip, and room for the base fee to double, which takes six full blocks."""
        with asking():
            tip = int(await self._web3.eth.max_priority_fee)
            base = int((await self._web3.eth.get_block("latest"))["baseFeePerGas"])
        return Fees(2 * base + tip, tip)

    def registration(self, root: bytes, size: int, *, nonce: int, fees: Fees) -> UnsignedTransaction:
        """See Chain."""
        data = bytes(HexBytes(self._registry.encode_abi("register", args=[root, size])))
        return UnsignedTransaction(self.chain_id, nonce, self.contract, data, self._gas, fees)

    async def send(self, raw: bytes) -> None:
        """See Chain."""
        with asking():
            try:
                await self._web3.eth.send_raw_transaction(raw)
            except Web3RPCError as error:
                if error.rpc_response is None:
                    raise
                raise refusal(error) from None

    async def receipt(self, hash_: bytes) -> Receipt | None:
        """See Chain."""
        with asking():
            try:
                found = await self._web3.eth.get_transaction_receipt(HexStr("0x" + hash_.hex()))
            except TransactionNotFound:
                return None
            # A call to an address without code succeeds as well, so the event is what counts.
            told = any(log["address"] == self.contract for log in found["logs"])
            succeeded = found["status"] == 1 and told
            return Receipt(
                hash_,
                int(found["blockNumber"]),
                bytes(found["blockHash"]),
                succeeded,
                gas_used=int(found["gasUsed"]),
                gas_price=int(found["effectiveGasPrice"]) if "effectiveGasPrice" in found else None,
            )

    async def registered(self, root: bytes) -> Receipt | None:
        """See Chain."""
        with asking():
            block = await self._registry.functions.blockOf(root).call()
            if block == 0:
                return None
            events: list[Any] = list(
                await self._registry.events.Anchored().get_logs(
                    argument_filters={"root": root}, from_block=block, to_block=block
                )
            )
        if not events:
            raise ChainUnavailableError(f"the node knows that a root is in block {block}, but not its event")
        event = events[0]
        return Receipt(bytes(event["transactionHash"]), block, bytes(event["blockHash"]), succeeded=True)
