"""Deploys the contract, once."""

import asyncio

import structlog
from eth_typing import HexStr
from eth_utils.address import to_checksum_address
from hexbytes import HexBytes
from web3 import AsyncHTTPProvider, AsyncWeb3

from anchor.chain import ChainError, ChainMismatchError, Fees, UnsignedTransaction
from anchor.contract import Artifact, Deployment
from anchor.evm import EvmChain, asking
from anchor.signer import Signer

log = structlog.get_logger()
GAS = 1_000_000
"""More than twice what the deployment takes."""
POLL_SECONDS = 0.2


class Deployer:
    """Deploys with the signer's key, which becomes the contract's submitter."""

    def __init__(self, web3: AsyncWeb3[AsyncHTTPProvider], signer: Signer, artifact: Artifact, chain_id: int) -> None:
        self._web3 = web3
        self._signer = signer
        self._artifact = artifact
        self._chain_id = chain_id

    async def check(self) -> None:
        """Raises ChainMismatchError when the node is on another chain, ChainUnavailableError."""
        with asking():
            chain_id = await self._web3.eth.chain_id
        if chain_id != self._chain_id:
            raise ChainMismatchError(f"the node is on chain {chain_id}, the settings say {self._chain_id}")

    async def deploy(self, known: Deployment | None, *, within_seconds: float = 120.0) -> Deployment:
        """The known deployment, while it stands with this code and this submitter; else a new one.

        Raises ChainError when that fails.
        """
        if known is not None and await self._stands(known):
            return known
        return await self._create(within_seconds)

    async def _stands(self, deployment: Deployment) -> bool:
        try:
            await EvmChain(self._web3, deployment, self._artifact, gas=0).check(self._signer.address)
        except ChainMismatchError as mismatch:
            log.warning("the contract is deployed anew", reason=str(mismatch))
            return False
        return True

    async def _create(self, within_seconds: float) -> Deployment:
        signed = await self._signer.sign(await self._creation())
        with asking():
            await self._web3.eth.send_raw_transaction(signed.raw)
            async with asyncio.timeout(within_seconds):
                receipt = await self._web3.eth.wait_for_transaction_receipt(
                    HexStr("0x" + signed.hash.hex()), timeout=within_seconds, poll_latency=POLL_SECONDS
                )
        address = receipt["contractAddress"]
        if receipt["status"] != 1 or address is None:
            raise ChainError(f"the deployment failed in transaction 0x{signed.hash.hex()}")
        log.info("deployed", contract=address, block=receipt["blockNumber"])
        return Deployment(self._chain_id, address)

    async def _creation(self) -> UnsignedTransaction:
        contract = self._web3.eth.contract(abi=self._artifact.abi, bytecode=HexStr(self._artifact.bytecode))
        data = bytes(HexBytes(contract.constructor(self._signer.address).data_in_transaction))
        with asking():
            nonce = await self._web3.eth.get_transaction_count(to_checksum_address(self._signer.address))
            tip = int(await self._web3.eth.max_priority_fee)
            base = int((await self._web3.eth.get_block("latest"))["baseFeePerGas"])
        return UnsignedTransaction(self._chain_id, nonce, "", data, GAS, Fees(2 * base + tip, tip))
