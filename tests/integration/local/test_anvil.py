"""The dev chain: blocks, receipts and balances over stops and crashes."""

import json
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from mesh.local.anvil import AnvilServer, ChainError, anvil_binary
from mesh.local.errors import NotInstalledError, StartError
from mesh.local.ports import PortTakenError
from mesh.local.process import Child
from tests.servers import free_port, start_anvil


async def _until(met: Callable[[], Awaitable[bool]], *, within: float = 30.0) -> None:
    ticker = Child("ticker", ["/bin/sleep", str(within)], log=Path(os.devnull))
    await ticker.start()
    try:
        await ticker.wait_ready(met, within=within)
    finally:
        await ticker.kill()


async def _send(server: AnvilServer) -> str:
    one, two = (await server.call("eth_accounts"))[:2]
    sent: str = await server.call("eth_sendTransaction", {"from": one, "to": two, "value": "0x1"})
    return sent


async def _mined(server: AnvilServer, transaction: str) -> bool:
    return await server.call("eth_getTransactionReceipt", transaction) is not None


async def test_the_chain_survives_a_stop(tmp_path: Path) -> None:
    server = await start_anvil(tmp_path)
    try:
        transaction = await _send(server)
        await _until(lambda: _mined(server, transaction))
        block = await server.call("eth_getBlockByNumber", "latest", False)
        assert block["transactions"] == [transaction]
        await server.stop()
        await server.start()
        assert await server.call("eth_getBlockByNumber", "latest", False) == block
        assert await _mined(server, transaction)
    finally:
        await server.stop()


async def test_the_chain_survives_a_crash_once_a_block_time_has_passed(tmp_path: Path) -> None:
    server = await start_anvil(tmp_path, block_time=0.1)
    try:
        transaction = await _send(server)
        await _until(lambda: _saved(tmp_path, transaction))
        await server.kill()
        await server.start()
        assert await _mined(server, transaction)
    finally:
        await server.stop()


async def _saved(folder: Path, transaction: str) -> bool:
    state = folder / "anvil" / "chain.json"
    return state.exists() and transaction in state.read_text()


async def test_confirmations_come_and_then_the_chain_stands_still(tmp_path: Path) -> None:
    server = AnvilServer(tmp_path / "anvil", free_port(), log=tmp_path / "log", block_time=0.02, settle=3, accounts=2)
    async with server:

        async def settled() -> bool:
            return await server.block_number() >= 3

        await _until(settled)
        transaction = await _send(server)

        async def confirmed() -> bool:
            receipt = await server.call("eth_getTransactionReceipt", transaction)
            return receipt is not None and await server.block_number() >= int(receipt["blockNumber"], 16) + 3

        await _until(confirmed)
        receipt = await server.call("eth_getTransactionReceipt", transaction)
        for _ in range(5):
            await server._tick()
        assert await server.block_number() == int(receipt["blockNumber"], 16) + 3


async def test_an_address_is_funded_and_nobody_else_is(tmp_path: Path) -> None:
    someone = "0x" + "12" * 20
    server = await start_anvil(tmp_path, accounts=0, block_time=1.0)
    try:
        assert await server.call("eth_accounts") == []
        await server.fund(someone, 10**18)
        await server.kill()
        await server.start()
        assert int(await server.call("eth_getBalance", someone, "latest"), 16) == 10**18
        with pytest.raises(ChainError, match="no_such_method"):
            await server.call("no_such_method")
    finally:
        await server.stop()


async def test_a_taken_port_names_its_holder(tmp_path: Path) -> None:
    server = await start_anvil(tmp_path)
    try:
        with pytest.raises(PortTakenError, match=rf"pid {server.child.pid} \(.*anvil"):
            await AnvilServer(tmp_path / "other", server.port, log=tmp_path / "log").start()
    finally:
        await server.stop()


async def test_a_spoilt_state_is_told_in_anvils_words(tmp_path: Path) -> None:
    (tmp_path / "anvil").mkdir()
    (tmp_path / "anvil" / "chain.json").write_text(json.dumps({"block": 1})[:-1])
    with pytest.raises(StartError, match=r"(?s)anvil ended.*chain\.json"):
        await start_anvil(tmp_path)


def test_a_missing_program_is_told_with_its_remedy(tmp_path: Path) -> None:
    with pytest.raises(NotInstalledError, match=r"tools/install_anvil\.py"):
        anvil_binary({}, str(tmp_path))
    with pytest.raises(NotInstalledError, match=r"\$VOKETAG_ANVIL is /nowhere"):
        anvil_binary({"VOKETAG_ANVIL": "/nowhere"})
    assert anvil_binary({"VOKETAG_ANVIL": "/bin/true"}) == Path("/bin/true")
