"""Lean clients, so that on a few cores the server is what is measured: unary gRPC over HTTP/2, and HTTP/1.1.

A connection of either takes a tenth of the CPU of grpc.aio's or aiohttp's for the same call. They speak as much of
their protocols as our servers, Envoy and net/http answer to, and fail loudly at anything else.
"""

import asyncio
import struct
from collections import deque
from typing import Any, Protocol

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
END_STREAM, END_HEADERS, ACK = 1, 4, 1
INITIAL_WINDOW_SIZE, WIDEST = 4, 2**31 - 1
FIRST_WINDOW = 65_535
FRAME = struct.Struct(">HBBBI")  # a length of 24 bits, type, flags, stream
METHOD_POST, SCHEME_HTTP, NAMED_PATH, NAMED_AUTHORITY = b"\x83", b"\x86", b"\x04", b"\x01"  # RFC 7541, appendix A
UNINDEXED = b"\x00"


class CallFailedError(Exception):
    """The server did not answer as it does to a good call."""


class Connection(Protocol):
    """Whatever a call can be made on."""

    def call(self, request: bytes | tuple[bytes, bytes]) -> "asyncio.Future[bytes]":
        """The answer's body. Raises CallFailedError."""
        ...


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return FRAME.pack(len(payload) >> 8, len(payload) & 255, kind, flags, stream) + payload


def _text(text: str) -> bytes:
    """A string without Huffman coding (RFC 7541, 5.2), its length in 7 bits and more."""
    data, size, head = text.encode(), len(text), b""
    if size < 127:
        return bytes((size,)) + data
    size, head = size - 127, b"\x7f"
    while size >= 128:
        head, size = head + bytes((size & 127 | 128,)), size >> 7
    return head + bytes((size,)) + data


def grpc_request(path: str, message: bytes, **metadata: str) -> tuple[bytes, bytes]:
    """The headers and the body of a unary call; underscores in names of metadata become hyphens."""
    head = METHOD_POST + SCHEME_HTTP + NAMED_PATH + _text(path) + NAMED_AUTHORITY + _text("bench")
    for name, value in {"content-type": "application/grpc", "te": "trailers", **metadata}.items():
        head += UNINDEXED + _text(name.replace("_", "-")) + _text(value)
    return head, b"\x00" + struct.pack(">I", len(message)) + message


class GrpcConnection(asyncio.Protocol):
    """Any number of unary calls at once on one connection (RFC 9113)."""

    def __init__(self) -> None:
        self._open: dict[int, tuple[asyncio.Future[bytes], bytearray]] = {}
        self._stream = -1
        self._received = b""
        self._loop = asyncio.get_running_loop()

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        settings = struct.pack(">HI", INITIAL_WINDOW_SIZE, WIDEST)
        widened = struct.pack(">I", WIDEST - FIRST_WINDOW)
        transport.write(PREFACE + frame(SETTINGS, 0, 0, settings) + frame(WINDOW_UPDATE, 0, 0, widened))

    def connection_lost(self, exc: Exception | None) -> None:
        for answer, _ in self._open.values():
            if not answer.done():
                answer.set_exception(CallFailedError(f"the connection broke: {exc}"))

    def call(self, request: bytes | tuple[bytes, bytes]) -> "asyncio.Future[bytes]":
        assert isinstance(request, tuple)
        self._stream += 2
        answer: asyncio.Future[bytes] = self._loop.create_future()
        self._open[self._stream] = answer, bytearray()
        head, body = request
        self._transport.write(
            frame(HEADERS, END_HEADERS, self._stream, head) + frame(DATA, END_STREAM, self._stream, body)
        )
        return answer

    def data_received(self, data: bytes) -> None:
        data, place = self._received + data, 0
        while len(data) - place >= FRAME.size:
            high, low, kind, flags, stream = FRAME.unpack_from(data, place)
            end = place + FRAME.size + (high << 8 | low)
            if len(data) < end:
                break
            self._take(kind, flags, stream, data[place + FRAME.size : end])
            place = end
        self._received = data[place:]

    def _take(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind == DATA:
            self._open[stream][1].extend(payload)
        if kind in (DATA, HEADERS) and flags & END_STREAM:
            self._end(stream)
        elif kind in (SETTINGS, PING) and not flags & ACK:
            self._transport.write(frame(kind, ACK, 0, payload if kind == PING else b""))
        elif kind in (RST_STREAM, GOAWAY):
            self._transport.abort()

    def _end(self, stream: int) -> None:
        """A unary call that fails ends without a message: what its trailers say is of no use here."""
        answer, body = self._open.pop(stream)
        if body:
            answer.set_result(bytes(body[5:]))
        else:
            answer.set_exception(CallFailedError("a call was answered with an error"))


class HttpConnection(asyncio.Protocol):
    """One request after the other on a connection that stays open (RFC 9112), for answers with a Content-Length."""

    def __init__(self) -> None:
        self._waiting: deque[asyncio.Future[bytes]] = deque()
        self._received = b""
        self._loop = asyncio.get_running_loop()

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        for answer in self._waiting:
            if not answer.done():
                answer.set_exception(CallFailedError(f"the connection broke: {exc}"))

    def call(self, request: bytes | tuple[bytes, bytes]) -> "asyncio.Future[bytes]":
        assert isinstance(request, bytes)
        answer: asyncio.Future[bytes] = self._loop.create_future()
        self._waiting.append(answer)
        self._transport.write(request)
        return answer

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, found, body = self._received.partition(b"\r\n\r\n")
        if not found:
            return
        status, *lines = head.lower().split(b"\r\n")
        sizes = [line.partition(b":")[2] for line in lines if line.startswith(b"content-length:")]
        if not sizes:
            self._transport.abort()
            return
        size = int(sizes[0])
        if len(body) < size:
            return
        self._received = body[size:]
        answer = self._waiting.popleft()
        if b" 200" in status:
            answer.set_result(body[:size])
        else:
            answer.set_exception(CallFailedError(f"{status.decode()}: {body[:200].decode(errors='replace')}"))


def http_request(path: str, body: bytes, **headers: str) -> bytes:
    """A POST of JSON; underscores in names of headers become hyphens."""
    lines = {"host": "bench", "content-type": "application/json", "content-length": str(len(body)), **headers}
    named = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in lines.items())
    return f"POST {path} HTTP/1.1\r\n{named}\r\n".encode() + body
