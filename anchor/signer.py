"""Who signs: an interface that a key service can stand behind, and a key in a file."""

import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from eth_account import Account
from eth_account.signers.local import LocalAccount

from anchor.chain import UnsignedTransaction


class SignerError(Exception):
    """There is no usable key. The message never shows any of it."""


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
        """Raises SignerError."""
        ...


class KeySigner:
    """Signs with a key in memory."""

    def __init__(self, account: LocalAccount) -> None:
        self._account = account
        self.address: str = account.address

    async def sign(self, transaction: UnsignedTransaction) -> SignedTransaction:
        """See Signer."""
        signed = self._account.sign_transaction(
            {
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
        )
        return SignedTransaction(bytes(signed.raw_transaction), bytes(signed.hash))


def from_key_file(path: Path) -> KeySigner:
    """The signer of the file's key, 64 hex digits.

    Raises SignerError when it cannot be read, is no key, or is open to other users. Its group may read it, since that
    is how Kubernetes mounts a secret for a process that is not root.
    """
    try:
        mode = path.stat().st_mode
        text = path.read_text().strip()
    except OSError as error:
        raise SignerError(f"the chain key {path} cannot be read: {error.strerror}") from None
    if mode & (stat.S_IRWXO | stat.S_IWGRP | stat.S_IXGRP):
        raise SignerError(f"the chain key {path} is open to other users: chmod 0600")
    try:
        return KeySigner(Account.from_key(bytes.fromhex(text.removeprefix("0x"))))
    except Exception:  # noqa: BLE001 - whatever is wrong, its text may show the key
        raise SignerError(f"the chain key {path} is not 64 hex digits of a key") from None
