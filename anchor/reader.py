"""A node that is only read from."""

from web3 import AsyncHTTPProvider, AsyncWeb3

from anchor.chain import Chain, ChainUnavailableError
from anchor.contract import Deployment, anchor_registry
from anchor.evm import EvmChain, asking


class EvmReader:
    """Opens contracts on the one chain that the node is on."""

    def __init__(self, web3: AsyncWeb3[AsyncHTTPProvider]) -> None:
        self._web3 = web3

    async def open(self, chain_id: int, contract: str) -> Chain:
        """The contract at an address, if the node is on that chain now. Raises ChainUnavailableError."""
        with asking():
            found = await self._web3.eth.chain_id
        if found != chain_id:
            raise ChainUnavailableError(f"the node is on chain {found}")
        return EvmChain(self._web3, Deployment(chain_id, contract), anchor_registry(), gas=0)

    async def close(self) -> None:
        """Closes the connections to the node."""
        await self._web3.provider.disconnect()
