from pathlib import Path

import pytest
from eth_account import Account

from anchor.chain import Fees, UnsignedTransaction
from anchor.signer import SignerError, from_key_file

KEY = "4c0883a69102937d6231471b5dbb6204fe5129617082792ae468d01a3f362318"
ADDRESS = "0x2c7536E3605D9C16a7a3D7b1898e529396a65c23"
"""A pair that the documentation of web3.js publishes."""


def write(folder: Path, text: str, mode: int = 0o600) -> Path:
    path = folder / "key"
    path.write_text(text)
    path.chmod(mode)
    return path


@pytest.mark.parametrize("text", [KEY, f"0x{KEY}\n", KEY.upper()])
@pytest.mark.parametrize("mode", [0o600, 0o400, 0o440])
def test_the_address_follows_from_the_key(tmp_path: Path, text: str, mode: int) -> None:
    assert from_key_file(write(tmp_path, text, mode)).address == ADDRESS


@pytest.mark.parametrize("mode", [0o604, 0o644, 0o660, 0o601, 0o602])
def test_a_key_open_to_others_is_refused(tmp_path: Path, mode: int) -> None:
    with pytest.raises(SignerError, match="chmod 0600"):
        from_key_file(write(tmp_path, KEY, mode))


@pytest.mark.parametrize("text", ["", "hello", KEY[:-1], KEY + "00", "0" * 64, "f" * 64])
def test_what_is_no_key_is_refused_without_showing_it(tmp_path: Path, text: str) -> None:
    with pytest.raises(SignerError) as caught:
        from_key_file(write(tmp_path, text))
    assert not text or text not in str(caught.value)
    assert caught.value.__suppress_context__


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SignerError, match="none cannot be read"):
        from_key_file(tmp_path / "none")


async def test_a_signature_is_the_accounts_and_always_the_same(tmp_path: Path) -> None:
    signer = from_key_file(write(tmp_path, KEY))
    unsigned = UnsignedTransaction(31_337, 7, "0x" + "42" * 20, b"\x01\x02", 60_000, Fees(10, 2))
    signed = await signer.sign(unsigned)
    assert Account.recover_transaction(signed.raw) == ADDRESS
    assert await signer.sign(unsigned) == signed
    assert len(signed.hash) == 32
