"""Who signs: an interface that a key service can stand behind, and a key in a file."""

import json
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from eth_account import Account
from eth_account.signers.local import LocalAccount
from eth_keyfile.keyfile import decode_keyfile_json
from pydantic import SecretStr

from anchor.chain import ChainUnavailableError, UnsignedTransaction


class SignerError(Exception):
    """There is no usable key. The message never shows any of it."""


class SignerUnavailableError(ChainUnavailableError):
    """The signer gave no usable answer: try again later. Nothing was sent."""

    kind = "signer"


@dataclass(frozen=True, slots=True)
class SignedTransaction:
    """The bytes for `eth_sendRawTransaction`, and the transaction's hash (32 bytes)."""

    raw: bytes
    hash: bytes


class Signer(Protocol):
    """Signs for one account, wherever its key is."""

    address: str
    """The account: 0x and 40 hex digits, EIP-55."""

    async def sign(self, transaction: UnsignedTransaction) -> SignedTransaction:
        """Raises SignerError, SignerUnavailableError."""
        ...


class KeySigner:
    """Signs with a key in memory, which nothing shows: no text of it, no exception, no frame of a traceback."""

    def __init__(self, account: LocalAccount) -> None:
        self._account = account
        self.address: str = account.address

    def __repr__(self) -> str:
        return f"KeySigner({self.address})"

    async def sign(self, transaction: UnsignedTransaction) -> SignedTransaction:
        """See Signer."""
        signed = self._sign(fields(transaction))
        if signed is None:
            raise SignerError("the transaction cannot be signed: one of its fields is not what EIP-1559 allows")
        return signed

    def _sign(self, fields_: dict[str, Any]) -> SignedTransaction | None:
        try:
            signed = self._account.sign_transaction(fields_)
        except Exception:  # noqa: BLE001 - the frames below have the key
            return None
        return SignedTransaction(bytes(signed.raw_transaction), bytes(signed.hash))


def fields(transaction: UnsignedTransaction) -> dict[str, Any]:
    """The fields of EIP-1559, by the names of JSON-RPC."""
    return {
        "type": 2,
        "chainId": transaction.chain_id,
        "nonce": transaction.nonce,
        "to": bytes.fromhex(transaction.to[2:]),
        "value": 0,
        "data": transaction.data,
        "gas": transaction.gas,
        "maxFeePerGas": transaction.fees.max_fee,
        "maxPriorityFeePerGas": transaction.fees.priority_fee,
    }


def from_key_file(path: Path, password: SecretStr | None = None) -> KeySigner:
    """The signer of the file's key: 64 hex digits, or a Web3 secret storage document (version 3) and its password.

    Raises SignerError when it cannot be read, is no key, needs another password, or is open to other users. Its group
    may read it, since that is how Kubernetes mounts a secret for a process that is not root.
    """
    try:
        mode = path.stat().st_mode
        encrypted = path.read_bytes()[:1] == b"{"
    except OSError as error:
        raise SignerError(f"the chain key {path} cannot be read: {error.strerror}") from None
    if mode & (stat.S_IRWXO | stat.S_IWGRP | stat.S_IXGRP):
        raise SignerError(f"the chain key {path} is open to other users: chmod 0600")
    if encrypted and password is None:
        raise SignerError(f"the chain key {path} is encrypted, and there is no password for it")
    account = _account(path, password if encrypted else None)
    if account is None:
        what = "what this password opens" if encrypted else "64 hex digits of a key"
        raise SignerError(f"the chain key {path} is not {what}")
    return KeySigner(account)


def _account(path: Path, password: SecretStr | None) -> LocalAccount | None:
    """Whatever is wrong, its text and its frames may show the key: so no exception leaves."""
    try:
        text = path.read_text().strip()
        if password is None:
            plain: LocalAccount = Account.from_key(bytes.fromhex(text.removeprefix("0x")))
            return plain
        document = json.loads(text)
        account: LocalAccount = Account.from_key(decode_keyfile_json(document, password.get_secret_value().encode()))
    except Exception:  # noqa: BLE001
        return None
    named = str(document.get("address", account.address)).lower().removeprefix("0x")
    return account if named == account.address.lower().removeprefix("0x") else None
