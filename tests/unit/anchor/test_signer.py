import json
import traceback
from pathlib import Path

import pytest
from eth_account import Account
from eth_keyfile.keyfile import create_keyfile_json
from pydantic import SecretStr

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
    assert caught.value.__context__ is None


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


KEYSTORE = {
    "crypto": {
        "cipher": "aes-128-ctr",
        "cipherparams": {"iv": "6087dab2f9fdbbfaddc31a909735c1e6"},
        "ciphertext": "5318b4d5bcd28de64ee5559e671353e16f075ecae9f99c7a79a38af5f869aa46",
        "kdf": "pbkdf2",
        "kdfparams": {
            "c": 262144,
            "dklen": 32,
            "prf": "hmac-sha256",
            "salt": "ae3cd4e7013836a3df6bd7241b12db061dbe2c6785853cce422d148a624ce0bd",
        },
        "mac": "517ead924a9d0dc3124507e3393d175ce3ff7c1e96529c6c555ce9e51205e9b2",
    },
    "id": "3198bc9c-6672-5ab3-d995-4942343ae5b6",
    "version": 3,
}
"""The test vector of the Web3 Secret Storage Definition, version 3, for PBKDF2."""
PASSWORD = SecretStr("testpassword")


def test_a_keystore_is_opened_by_its_password(tmp_path: Path) -> None:
    signer = from_key_file(write(tmp_path, json.dumps(KEYSTORE)), PASSWORD)
    assert signer.address == "0x008AeEda4D805471dF9b2A5B0f38A0C3bCBA786b"


def test_a_scrypt_keystore_is_opened_too(tmp_path: Path) -> None:
    document = create_keyfile_json(bytes.fromhex(KEY), b"p\xc3\xa4ss", kdf="scrypt", iterations=4)
    assert from_key_file(write(tmp_path, json.dumps(document)), SecretStr("päss")).address == ADDRESS


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "{}",
        json.dumps(KEYSTORE | {"version": 4}),
        json.dumps(KEYSTORE | {"address": ADDRESS}),
        json.dumps(KEYSTORE | {"crypto": KEYSTORE["crypto"] | {"mac": "00" * 32}}),  # type: ignore[operator]
    ],
    ids=["half", "empty", "version", "address", "mac"],
)
def test_a_broken_keystore_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(SignerError, match="is not what this password opens"):
        from_key_file(write(tmp_path, text), PASSWORD)


def test_a_wrong_password_is_refused_without_showing_it(tmp_path: Path) -> None:
    with pytest.raises(SignerError) as caught:
        from_key_file(write(tmp_path, json.dumps(KEYSTORE)), SecretStr("wrong password"))
    assert "wrong password" not in shown(caught.value)


def test_a_keystore_without_a_password_says_so(tmp_path: Path) -> None:
    with pytest.raises(SignerError, match="is encrypted, and there is no password"):
        from_key_file(write(tmp_path, json.dumps(KEYSTORE)))


def shown(error: BaseException) -> str:
    """All that the most talkative report shows: its text, and every variable of every frame but the test's own."""
    assert error.__context__ is None
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)][1:]
    assert frames
    return str(error) + repr(vars(error)) + "".join(repr(frame.f_locals) for frame in frames)


async def test_nothing_shows_the_key(tmp_path: Path) -> None:
    signer = from_key_file(write(tmp_path, KEY))
    assert repr(signer) == f"KeySigner({ADDRESS})"
    assert KEY not in repr(vars(signer)) + str(signer)
    impossible = UnsignedTransaction(31_337, -1, "0x" + "42" * 20, b"", 60_000, Fees(10, 2))
    with pytest.raises(SignerError, match="cannot be signed") as caught:
        await signer.sign(impossible)
    number = str(int(KEY, 16))
    for form in (KEY, number, repr(bytes.fromhex(KEY))[2:-1]):
        assert form not in shown(caught.value)


@pytest.mark.parametrize("text", [KEY + "00", "0x" + KEY[:-2] + "zz"])
def test_a_traceback_of_a_bad_key_shows_none_of_it(tmp_path: Path, text: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(SignerError) as caught:
        from_key_file(path)
    assert KEY[:32] not in shown(caught.value)
