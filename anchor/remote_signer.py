"""A signer behind HTTP: the key never comes here, and what comes is checked before it is believed."""

import hashlib
import hmac
import json
import secrets
from typing import Any

from aiohttp import ClientError, ClientSession, ClientTimeout
from eth_account import Account
from eth_account.typed_transactions.typed_transaction import TypedTransaction
from eth_utils.crypto import keccak
from hexbytes import HexBytes
from pydantic import SecretStr

from anchor.chain import UnsignedTransaction
from anchor.signer import SignedTransaction, SignerUnavailableError, fields

LONGEST = 65_536
"""Bytes of an answer; a signed registration has 400."""
NONCE, PROOF = "Voketag-Nonce", "Voketag-Proof"


def proof(token: bytes, part: str, nonce: str, body: bytes) -> str:
    """That whoever sent the body knows the token: HMAC-SHA256, in hex.

    Over `part`, a newline, the request's nonce, a newline, and the body, where `part` is `request` or `answer`.
    """
    return hmac.new(token, f"{part}\n{nonce}\n".encode() + body, hashlib.sha256).hexdigest()


def question(transaction: UnsignedTransaction, address: str) -> dict[str, Any]:
    """The call `eth_signTransaction` of JSON-RPC: quantities and data as 0x and hex digits, addresses in EIP-55."""
    named = {
        name: "0x" + value.hex() if isinstance(value, bytes) else hex(value)
        for name, value in fields(transaction).items()
        if name != "to"
    }
    # Without `to` it creates a contract.
    place = {"to": transaction.to} if transaction.to else {}
    return {"jsonrpc": "2.0", "id": 1, "method": "eth_signTransaction", "params": [{"from": address, **place, **named}]}


class RemoteSigner:
    """Signs at `url`, for the account `address` (EIP-55). Each side proves to the other that it has the token.

    So nobody in between can ask for signatures, nor answer for the signer; the token itself is never sent.
    """

    def __init__(self, url: str, address: str, token: SecretStr, *, timeout_seconds: float) -> None:
        self.address = address
        self._url = url
        self._token = token
        self._timeout = ClientTimeout(total=timeout_seconds)

    def __repr__(self) -> str:
        return f"RemoteSigner({self.address})"

    async def sign(self, transaction: UnsignedTransaction) -> SignedTransaction:
        """See Signer. A wrong answer counts as none."""
        body = json.dumps(question(transaction, self.address)).encode()
        try:
            raw = _raw(await self._ask(body))
            signer = Account.recover_transaction(HexBytes(raw))
            told = TypedTransaction.from_bytes(HexBytes(raw)).as_dict()
        except SignerUnavailableError:
            raise
        except Exception as error:  # noqa: BLE001 - bytes that are no transaction fail in many ways
            raise SignerUnavailableError(f"the signer's answer is no transaction: {type(error).__name__}") from None
        wanted = fields(transaction) | {"accessList": ()}
        other = sorted(name for name, value in wanted.items() if told.get(name) != value)
        if signer != self.address or other:
            what = f"other {', '.join(other)}" if other else f"a signature of {signer}"
            raise SignerUnavailableError(f"the signer answered with {what}: its answer is not used")
        return SignedTransaction(raw, keccak(raw))

    async def _ask(self, body: bytes) -> bytes:
        nonce, token = secrets.token_hex(16), self._token.get_secret_value().encode()
        headers = {"content-type": "application/json", NONCE: nonce, PROOF: proof(token, "request", nonce, body)}
        try:
            async with (
                ClientSession(timeout=self._timeout) as session,
                session.post(self._url, data=body, headers=headers, allow_redirects=False) as response,
            ):
                answer = await response.content.read(LONGEST)
                while len(answer) < LONGEST and (more := await response.content.read(LONGEST)):
                    answer += more
                status, proven = response.status, response.headers.get(PROOF, "")
        except (ClientError, TimeoutError, OSError) as error:
            raise SignerUnavailableError(f"the signer cannot be reached: {type(error).__name__}") from None
        if status != 200:
            raise SignerUnavailableError(f"the signer answered HTTP {status}")
        if not hmac.compare_digest(proven.encode(), proof(token, "answer", nonce, answer).encode()):
            raise SignerUnavailableError("the signer's answer does not prove that it has the token")
        return answer


def _raw(answer: bytes) -> bytes:
    """The transaction's bytes out of the answer. Raises SignerUnavailableError, ValueError."""
    match json.loads(answer):
        case {"result": str(raw)}:
            return bytes.fromhex(raw.removeprefix("0x"))
        case {"error": {"message": str(message)}}:
            raise SignerUnavailableError(f"the signer refuses: {message[:200]}")
    raise ValueError("neither result nor error")
