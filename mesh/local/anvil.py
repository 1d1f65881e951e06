"""The dev chain: anvil, made to keep its blocks over a restart and a crash.

Anvil writes its own state file in place, so a kill -9 in the middle leaves half of one, and with a fixed block time
the file grows by 150 MB a day of empty blocks. Hence two things are done here instead: the state is asked for after
every new block and put in place whole, and the chain stands still while nobody sends anything.
"""

import asyncio
import contextlib
import gzip
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mesh.local.errors import LocalError, NotInstalledError
from mesh.local.files import write_whole
from mesh.local.http import fetch
from mesh.local.ports import LOOPBACK, require_free
from mesh.local.process import Child
from mesh.local.server import Server, clean_environment

CHAIN_ID = 31_337


class ChainError(LocalError):
    """The dev chain did not answer, or answered with an error."""


def anvil_binary(environ: Mapping[str, str] = os.environ, prefix: str = sys.prefix) -> Path:
    """Anvil's program: $VOKETAG_ANVIL, or the one installed beside the virtual environment.

    Raises NotInstalledError when there is none.
    """
    if named := environ.get("VOKETAG_ANVIL"):
        if os.access(named, os.X_OK):
            return Path(named)
        raise NotInstalledError(f"$VOKETAG_ANVIL is {named}, which is no program")
    for found in Path(prefix, "anvil", "node_modules", "@foundry-rs").glob("anvil-*/bin/anvil"):
        return found
    raise NotInstalledError(
        "the dev chain (anvil) is not installed: run `python tools/install_anvil.py`,"
        " or set VOKETAG_ANVIL to the program's path"
    )


class AnvilServer(Server):
    """A chain of id 31337 on the loopback address.

    Every `block_time` seconds it mines what waits, and `settle` empty blocks after the last transaction, so that
    confirmations come; with `automine` it mines each transaction at once and no empty block. After a crash at most
    the last `block_time` is lost. `accounts` of anvil's well-known mnemonic are funded: none unless asked for, since
    everybody knows their keys; see `fund`.
    """

    def __init__(
        self,
        folder: Path,
        port: int,
        *,
        log: Path,
        automine: bool = False,
        block_time: float = 1.0,
        settle: int = 12,
        accounts: int = 0,
    ) -> None:
        """`folder` holds the chain's state; it is made when missing."""
        self.port = port
        self._folder = folder
        self._state = folder / "chain.json"
        self._log = log
        self._automine = automine
        self._block_time = block_time
        self._settle = settle
        self._accounts = accounts
        self._keeper: asyncio.Task[None] | None = None
        self._saved = -1
        self._saving = asyncio.Lock()
        self._busy_until = 0

    @property
    def url(self) -> str:
        """The address of its JSON-RPC."""
        return f"http://{LOOPBACK}:{self.port}"

    async def prepare(self) -> Child:
        """Look for the program, the port and the last state."""
        require_free(self.port)
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        command: list[str | Path] = [anvil_binary(), "--host", LOOPBACK, "--port", str(self.port), "--quiet"]
        command += ["--chain-id", str(CHAIN_ID), "--accounts", str(self._accounts)]
        command += [] if self._automine else ["--no-mining"]
        command += ["--load-state", self._state] if self._state.exists() else []
        return Child("anvil", command, log=self._log, env=clean_environment(self._folder))

    async def ready(self) -> bool:
        """Whether it tells its chain id."""
        try:
            return bool(await self.call("eth_chainId") == hex(CHAIN_ID))
        except ChainError:
            return False

    async def start(self) -> None:
        """Start, from the last saved state if there is one."""
        await super().start()
        self._saved = await self.block_number()
        self._busy_until = self._saved + self._settle
        self._keeper = asyncio.create_task(self._keep(), name="anvil-keeper")

    async def stop(self) -> None:
        """Save the chain and stop."""
        await self._end_keeper()
        if self.running:
            await self.save()
        await super().stop()

    async def kill(self) -> None:
        """End it as a crash would, saving nothing."""
        await self._end_keeper()
        await super().kill()

    async def call(self, method: str, *params: object) -> Any:
        """One JSON-RPC call. Raises ChainError."""
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        answer = await fetch(self.url, json.dumps(body).encode(), within=60)
        if answer is None:
            raise ChainError(f"the dev chain at {self.url} does not answer")
        reply = json.loads(answer)
        if "error" in reply:
            raise ChainError(f"{method}: {reply['error'].get('message', reply['error'])}")
        return reply["result"]

    async def block_number(self) -> int:
        """The newest block's number."""
        return int(await self.call("eth_blockNumber"), 16)

    async def fund(self, address: str, wei: int) -> None:
        """Set the balance of an address (0x…), as only a dev chain allows, and save it."""
        await self.call("anvil_setBalance", address, hex(wei))
        await self.save()

    async def save(self) -> None:
        """Put the chain's present state in place of the last one, whole."""
        async with self._saving:
            await self._save()

    async def _save(self) -> None:
        number = await self.block_number()
        dump = bytes.fromhex((await self.call("anvil_dumpState")).removeprefix("0x"))
        await asyncio.to_thread(lambda: write_whole(self._state, gzip.decompress(dump)))
        self._saved = number

    async def _keep(self) -> None:
        while True:
            await asyncio.sleep(self._block_time)
            with contextlib.suppress(ChainError):  # it may be going down; its process is watched elsewhere
                await self._tick()

    async def _tick(self) -> None:
        number = await self.block_number()
        if not self._automine:
            waiting = int((await self.call("txpool_status"))["pending"], 16)
            if waiting:
                self._busy_until = number + 1 + self._settle
            if number < self._busy_until:
                await self.call("evm_mine")
                number += 1
        if number != self._saved:
            await self.save()

    async def _end_keeper(self) -> None:
        if self._keeper is not None:
            self._keeper.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._keeper
            self._keeper = None
