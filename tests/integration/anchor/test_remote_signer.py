"""The key stays with another process: what that one may do, and what is believed of it."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from eth_account import Account
from pydantic import SecretStr

from anchor.chain import Fees, UnsignedTransaction
from anchor.remote_signer import LONGEST, RemoteSigner, proof
from anchor.signer import KeySigner, SignerUnavailableError
from mesh.config import DatabaseSettings
from tests.fakes.remote_signer import RemoteSignerServer
from tests.integration.anchor.processes import running, settings
from tests.integration.anchor.test_crash import all_final
from tests.integration.anchor.world import World

TOKEN = "a token that is known to two processes alone"
CONTRACT = "0x5FbDB2315678afecb367f032d93F642f64180aa3"
UNSIGNED = UnsignedTransaction(31_337, 7, CONTRACT, b"\x01\x02", 60_000, Fees(10**10, 0))
CREATION = UnsignedTransaction(31_337, 0, "", b"\x60\x01", 60_000, Fees(10**10, 2))


@pytest.fixture
async def server() -> AsyncIterator[RemoteSignerServer]:
    async with RemoteSignerServer(Account.create(), TOKEN) as server:
        yield server


def client(server: RemoteSignerServer, *, token: str = TOKEN, timeout_seconds: float = 10) -> RemoteSigner:
    return RemoteSigner(server.url, server.account.address, SecretStr(token), timeout_seconds=timeout_seconds)


@pytest.mark.parametrize("unsigned", [UNSIGNED, CREATION], ids=["call", "creation"])
async def test_it_signs_what_a_key_here_would(server: RemoteSignerServer, unsigned: UnsignedTransaction) -> None:
    assert await client(server).sign(unsigned) == await KeySigner(server.account).sign(unsigned)


@pytest.mark.parametrize(
    "changes",
    [
        {"chainId": "0x1"},
        {"nonce": "0x8"},
        {"to": "0x" + "43" * 20},
        {"value": "0x1"},
        {"data": "0x0102ff"},
        {"gas": "0xffff"},
        {"maxFeePerGas": "0x2540be401"},
        {"maxPriorityFeePerGas": "0x1"},
        {"accessList": [{"address": "0x" + "44" * 20, "storageKeys": []}]},
    ],
    ids=lambda changes: next(iter(changes)),
)
async def test_another_transaction_is_not_used(server: RemoteSignerServer, changes: dict[str, Any]) -> None:
    server.change = lambda wish: wish | changes
    with pytest.raises(SignerUnavailableError, match=f"answered with other {next(iter(changes))}: "):
        await client(server).sign(UNSIGNED)


async def test_another_accounts_signature_is_not_used(server: RemoteSignerServer) -> None:
    other = Account.create()
    signer = client(server)
    server.account, server.change = other, lambda wish: wish | {"from": other.address}
    with pytest.raises(SignerUnavailableError, match=f"a signature of {other.address}"):
        await signer.sign(UNSIGNED)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b"{",
        b'{"result": null}',
        b'{"result": "0x"}',
        b'{"result": "0x02"}',
        b'{"result": "zz"}',
        b'{"result": "0x' + b"00" * LONGEST + b'"}',
        b'{"result": "0x02f8' + b"ff" * 100 + b'"}',
    ],
    ids=range(11),
)
async def test_what_is_no_transaction_is_not_used(server: RemoteSignerServer, answer: bytes) -> None:
    server.reply = lambda _: answer
    with pytest.raises(SignerUnavailableError):
        await client(server).sign(UNSIGNED)


async def test_a_refusal_is_told(server: RemoteSignerServer) -> None:
    signer = client(server)
    server.account = Account.create()
    with pytest.raises(SignerUnavailableError, match="the signer refuses: another account"):
        await signer.sign(UNSIGNED)


async def test_a_caller_without_the_token_gets_nothing(server: RemoteSignerServer) -> None:
    with pytest.raises(SignerUnavailableError, match="HTTP 401"):
        await client(server, token="another token of as many characters").sign(UNSIGNED)
    assert (server.asked, server.refused) == (0, 1)


async def test_a_server_without_the_token_is_not_believed(server: RemoteSignerServer) -> None:
    server.proves = lambda _nonce, body: proof(b"another token", "answer", _nonce, body)
    with pytest.raises(SignerUnavailableError, match="does not prove that it has the token"):
        await client(server).sign(UNSIGNED)


async def test_an_answer_to_another_request_is_not_believed(server: RemoteSignerServer) -> None:
    server.proves = lambda _nonce, body: proof(TOKEN.encode(), "answer", "00" * 16, body)
    with pytest.raises(SignerUnavailableError, match="does not prove that it has the token"):
        await client(server).sign(UNSIGNED)


async def test_a_request_is_no_answer(server: RemoteSignerServer) -> None:
    server.proves = lambda nonce, body: proof(TOKEN.encode(), "request", nonce, body)
    with pytest.raises(SignerUnavailableError, match="does not prove that it has the token"):
        await client(server).sign(UNSIGNED)


async def test_one_that_hangs_or_is_away(server: RemoteSignerServer) -> None:
    server.hangs = True
    with pytest.raises(SignerUnavailableError, match="cannot be reached: TimeoutError"):
        await client(server, timeout_seconds=0.2).sign(UNSIGNED)
    server.url = "http://127.0.0.1:1/"
    with pytest.raises(SignerUnavailableError, match="cannot be reached"):
        await client(server).sign(UNSIGNED)


async def test_neither_text_nor_error_shows_token_or_url(server: RemoteSignerServer) -> None:
    signer = client(server)
    server.status = 500
    with pytest.raises(SignerUnavailableError) as caught:
        await signer.sign(UNSIGNED)
    for shown in (repr(signer), str(caught.value), repr(vars(signer))):
        assert TOKEN not in shown


async def test_a_submitter_without_a_key(world: World, database: DatabaseSettings, tmp_path: Path) -> None:
    """The whole way; the signer goes away for a while, and comes back."""
    async with RemoteSignerServer(Account.from_key(world.ground.key), TOKEN) as server:
        env = settings(database, world.ground, tmp_path)
        del env["VOKETAG_CHAIN_KEY_FILE"]
        (tmp_path / "chain.key").unlink()
        (tmp_path / "token").write_text(TOKEN)
        env |= {
            "VOKETAG_SIGNER_URL": server.url,
            "VOKETAG_SIGNER_ADDRESS": world.signer.address.lower(),
            "VOKETAG_SIGNER_TOKEN_FILE": str(tmp_path / "token"),
        }
        server.status = 503
        submissions = await world.submit(3)
        async with running("anchor", "submit", env=env) as process:
            async with asyncio.timeout(30):
                while server.asked < 2:
                    await asyncio.sleep(0.05)
            assert await world.states() == ["built"]
            server.status = 200
            await all_final(world)
            process.terminate()
            await process.wait()
    assert process.returncode == 0
    await world.assert_anchored_once(submissions)
