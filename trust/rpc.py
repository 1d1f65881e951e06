"""A chain reader over plain Ethereum JSON-RPC: any node or public endpoint will do."""

import json
from http import HTTPStatus
from http.client import HTTPException
from typing import Any
from urllib.parse import urlsplit
from urllib.request import HTTPHandler, HTTPSHandler, OpenerDirector, ProxyHandler, Request

from trust.chain import ChainUnreachableError

__all__ = ["BLOCK_OF", "ChainUnreachableError", "JsonRpcChain"]

# First four bytes of keccak256("blockOf(bytes32)"), the ABI's selector; SHA-3 of the standard library is not keccak.
BLOCK_OF = bytes.fromhex("7ee64074")

# Two numbers are all that is asked for; the bound also bounds how deep an answer can be nested.
_MAX_ANSWER_BYTES = 8 * 1024
_REVERTED = 3


class JsonRpcChain:
    """Reads the chain behind `url` (http or https), giving each request `timeout` seconds.

    Raises ValueError if the URL is of another kind or holds a user name. Redirects are not followed.
    """

    def __init__(self, url: str, *, timeout: float = 10.0) -> None:
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname or "@" in parts.netloc:
            raise ValueError("the chain's endpoint is not an http or https URL without a user name")
        self._url = url
        self._timeout = timeout
        self._opener = _opener()

    def chain_id(self) -> int:
        """Give the chain's id (EIP-155); raises ChainUnreachableError."""
        return _number(self._result(self._call("eth_chainId", [])), self._where)

    def block_of(self, contract: str, root: bytes) -> int | None:
        """Give the block in which `contract` registered `root`, None if it did not or is no such contract.

        Raises ChainUnreachableError.
        """
        call = {"to": contract, "data": "0x" + (BLOCK_OF + root).hex()}
        answer = self._call("eth_call", [call, "latest"])
        # A revert, or no bytes at all, is the chain's answer that there is no such contract at this address.
        if _reverted(answer) or (result := self._result(answer)) == "0x":
            return None
        return _number(result, self._where) or None

    @property
    def _where(self) -> str:
        # No more than scheme, host and port: paths of public endpoints hold access keys.
        parts = urlsplit(self._url)
        return f"{parts.scheme}://{parts.netloc}"

    def _result(self, answer: dict[str, Any]) -> object:
        if "result" not in answer:
            raise ChainUnreachableError(f"{self._where} answered with an error: {answer.get('error')!s:.200}")
        return answer["result"]

    def _call(self, method: str, params: list[Any]) -> dict[str, Any]:
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()
        request = Request(self._url, body, {"content-type": "application/json"})  # noqa: S310 the scheme is checked
        try:
            with self._opener.open(request, timeout=self._timeout) as response:
                status, text = response.status, response.read(_MAX_ANSWER_BYTES + 1)
        except (HTTPException, OSError) as error:
            # An HTTPException may quote the whole URL.
            reason = error if isinstance(error, OSError) else type(error).__name__
            raise ChainUnreachableError(f"{self._where} cannot be reached: {reason}") from None
        if status != HTTPStatus.OK:
            raise ChainUnreachableError(f"{self._where} answered with HTTP status {status}")
        if len(text) > _MAX_ANSWER_BYTES:
            raise ChainUnreachableError(f"{self._where} answered with more than {_MAX_ANSWER_BYTES} bytes")
        try:
            answer = json.loads(text)
        except (ValueError, RecursionError):
            answer = None
        if not isinstance(answer, dict) or answer.get("id") != 1:
            raise ChainUnreachableError(f"{self._where} does not answer {method} as a JSON-RPC server does")
        return answer


def _opener() -> OpenerDirector:
    """Speak HTTP and HTTPS only, through the environment's proxies, and follow no redirect."""
    opener = OpenerDirector()
    for handler in (ProxyHandler(), HTTPHandler(), HTTPSHandler()):
        opener.add_handler(handler)
    return opener


def _reverted(answer: dict[str, Any]) -> bool:
    error = answer.get("error")
    return isinstance(error, dict) and (error.get("code") == _REVERTED or "revert" in str(error.get("message")))


def _number(result: object, where: str) -> int:
    """Read a quantity or a returned uint256, both ``0x`` and at most 64 hex digits."""
    try:
        if isinstance(result, str) and result.startswith("0x") and len(result) <= 66:
            return int.from_bytes(bytes.fromhex(result[2:].zfill(64)), "big")
    except ValueError:
        pass
    raise ChainUnreachableError(f"{where} answered {str(result)[:80]!r}, which is not a number")
