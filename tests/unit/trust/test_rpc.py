import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from typing import Any

import pytest
from web3 import Web3

from trust.chain import ChainUnreachableError
from trust.rpc import BLOCK_OF, JsonRpcChain

CONTRACT = "0x5fbdb2315678afecb367f032d93f642f64180aa3"
ROOT = bytes(range(32))

Answer = Callable[[dict[str, Any]], bytes]


@contextmanager
def serving(answer: Answer, *, status: int = 200, location: str = "") -> Iterator[str]:
    """Serve one HTTP endpoint on loopback that answers each JSON-RPC request with `answer`; gives its URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = answer(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(status)
            if location:
                self.send_header("location", location)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 the base class names it so
            """Keep the test output quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/key-0123"
        finally:
            server.shutdown()
            thread.join()


def result(value: object) -> Answer:
    return lambda request: json.dumps({"jsonrpc": "2.0", "id": request["id"], "result": value}).encode()


def failure(code: int, message: str) -> Answer:
    error = {"code": code, "message": message}
    return lambda request: json.dumps({"jsonrpc": "2.0", "id": request["id"], "error": error}).encode()


def test_selector_is_the_first_four_bytes_of_keccak() -> None:
    assert bytes(Web3.keccak(text="blockOf(bytes32)")[:4]) == BLOCK_OF


def test_asks_as_a_node_expects() -> None:
    requests: list[dict[str, Any]] = []

    def answer(request: dict[str, Any]) -> bytes:
        requests.append(request)
        value = "0x7a69" if request["method"] == "eth_chainId" else f"0x{4711:064x}"
        return result(value)(request)

    with serving(answer) as url:
        chain = JsonRpcChain(url)
        assert chain.chain_id() == 31337
        assert chain.block_of(CONTRACT, ROOT) == 4711
    data = "0x7ee64074" + ROOT.hex()
    assert [(request["method"], request["params"]) for request in requests] == [
        ("eth_chainId", []),
        ("eth_call", [{"to": CONTRACT, "data": data}, "latest"]),
    ]
    assert all(request["jsonrpc"] == "2.0" for request in requests)


@pytest.mark.parametrize(
    "answer",
    [result("0x"), result("0x" + "0" * 64), failure(3, "execution reverted"), failure(-32000, "VM: revert")],
    ids=["no contract", "zero", "reverted", "reverted otherwise"],
)
def test_a_root_that_is_not_registered(answer: Answer) -> None:
    with serving(answer) as url:
        assert JsonRpcChain(url).block_of(CONTRACT, ROOT) is None


WRONG_ANSWERS: dict[str, Answer] = {
    "not JSON": lambda _: b"<html>",
    "not an object": lambda _: b"[]",
    "deep nesting": lambda _: b"[" * 8_000,
    "another id": lambda _: b'{"jsonrpc":"2.0","id":7,"result":"0x1"}',
    "an error": failure(-32005, "limit exceeded"),
    "neither result nor error": lambda _: b'{"jsonrpc":"2.0","id":1}',
    "null": result(None),
    "a number": result(4711),
    "decimal": result("4711"),
    "not hex": result("0xzz"),
    "too long": result("0x" + "1" * 65),
    "too big": lambda request: result("0x1")(request).ljust(8_193),
    "nothing": lambda _: b"",
}


@pytest.mark.parametrize("name", WRONG_ANSWERS)
def test_answers_that_are_none(name: str) -> None:
    with serving(WRONG_ANSWERS[name]) as url:
        chain = JsonRpcChain(url)
        with pytest.raises(ChainUnreachableError, match=r"^http://127\.0\.0\.1:\d+ ") as caught:
            chain.block_of(CONTRACT, ROOT)
        with pytest.raises(ChainUnreachableError):
            chain.chain_id()
    assert "key-0123" not in str(caught.value)


@pytest.mark.parametrize("status", [400, 403, 429, 500, 503])
def test_http_errors(status: int) -> None:
    with serving(result("0x1"), status=status) as url, pytest.raises(ChainUnreachableError, match=str(status)):
        JsonRpcChain(url).chain_id()


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_not_followed(status: int) -> None:
    followed = Event()

    def answer(request: dict[str, Any]) -> bytes:
        followed.set()
        return result("0x1")(request)

    with serving(answer) as target, serving(result("0x1"), status=status, location=target) as url:
        with pytest.raises(ChainUnreachableError, match=str(status)):
            JsonRpcChain(url).chain_id()
    assert not followed.is_set()


def test_a_silent_server_times_out() -> None:
    released = Event()

    def answer(request: dict[str, Any]) -> bytes:
        released.wait(30)
        return result("0x1")(request)

    with serving(answer) as url:
        try:
            with pytest.raises(ChainUnreachableError, match="timed out"):
                JsonRpcChain(url, timeout=0.1).chain_id()
        finally:
            released.set()


def test_nobody_listening() -> None:
    with serving(result("0x1")) as url:
        pass
    with pytest.raises(ChainUnreachableError, match="cannot be reached"):
        JsonRpcChain(url).chain_id()


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "ftp://host/",
        "ws://host/",
        "host:8545",
        "http://",
        "http://user:secret@host/",
        "",
        "http:x",
    ],
)
def test_only_http_urls(url: str) -> None:
    with pytest.raises(ValueError, match="not an http or https URL"):
        JsonRpcChain(url)


def test_a_url_that_cannot_be_asked_is_not_told() -> None:
    with pytest.raises(ChainUnreachableError) as caught:
        JsonRpcChain("http://127.0.0.1/key 0123").chain_id()
    assert str(caught.value) == "http://127.0.0.1 cannot be reached: InvalidURL"
