"""One lean connection to Valkey for the hot path: the calls of an event-loop turn share one write.

A micro-batch is in flight while the next one gathers, so that a busy process makes few large writes and reads. Nothing
is retried here: a call whose answer is lost may have been made or not, and only its caller knows what that means.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable
from contextlib import suppress
from typing import Any, Protocol, cast
from urllib.parse import unquote, urlsplit

import hiredis
import structlog

from mesh.config import ValkeySettings
from mesh.errors import DependencyUnavailable
from mesh.presence import Presence

BATCH_CALLS = 1_000
GATHER_SECONDS = 0.001
CONNECT_SECONDS = 1.0
FIRST_DELAY_SECONDS, LAST_DELAY_SECONDS = 0.05, 1.0

_INCOMPLETE = object()

log = structlog.get_logger()


class ValkeyError(Exception):
    """Valkey did not do what it was asked for, or did not say so."""


class ValkeyAwayError(ValkeyError):
    """Valkey cannot be reached or did not answer in time; whether the call took effect is not known."""


class ValkeyRefusedError(ValkeyError):
    """Valkey answered with an error, whose text this carries."""


class Lane(Protocol):
    """The way to the node that holds the keys of one hash tag."""

    def call(self, *words: str | bytes | int) -> Awaitable[Any]:
        """The answer to a command: bytes, int, None or a list of them. Raises ValkeyAwayError, ValkeyRefusedError."""
        ...


class Lanes(Protocol):
    """One server or a cluster of them."""

    async def start(self, *, wait_seconds: float = 0) -> None:
        """Connects, trying for so long. Raises DependencyUnavailable, for a wrong password too."""
        ...

    def at(self, tag: bytes) -> Lane:
        """The way to the keys of a hash tag, `{…}`."""
        ...

    async def everywhere(self, *words: str | bytes | int) -> list[Any]:
        """The answers of all nodes that took it, at least one. Raises ValkeyAwayError, ValkeyRefusedError."""
        ...

    async def close(self) -> None:
        """Closes the connections; calls under way fail."""
        ...


class _Link(asyncio.Protocol):
    """One connection. Replies come in the order of the calls, so a call keeps its place even when it is cancelled."""

    def __init__(self, timeout: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._timeout = timeout
        self._reader = hiredis.Reader(notEnoughData=_INCOMPLETE)
        self._gathered: deque[tuple[bytes, asyncio.Future[Any]]] = deque()
        self._awaited: deque[asyncio.Future[Any]] = deque()
        self._flush_due = False
        self._crowded = False
        self._sent_at = 0.0
        self._watch: asyncio.TimerHandle | None = None
        self._transport: asyncio.Transport | None = None
        self._reason: object = "the server closed the connection"
        self.closed: asyncio.Future[object] = self._loop.create_future()

    def submit(self, command: bytes) -> "asyncio.Future[Any]":
        """The future answer to a packed command. Raises ValkeyAwayError."""
        if self._transport is None:
            raise ValkeyAwayError(self._reason)
        answer: asyncio.Future[Any] = self._loop.create_future()
        self._gathered.append((command, answer))
        if not self._awaited and not self._flush_due:
            self._schedule()
        return answer

    def abort(self, reason: object) -> None:
        """Gives the connection up: after a lost or unreadable reply it is not known which call the next answers."""
        self._reason = reason
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio.Protocol."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's are no subclass of it

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        try:
            self._reader.feed(data)
            while (reply := self._reader.gets()) is not _INCOMPLETE:
                self._settle(self._awaited.popleft(), reply)
        except (hiredis.ProtocolError, IndexError) as error:
            self.abort(f"unreadable reply: {error}")
            return
        if self._gathered and not self._awaited and not self._flush_due:
            self._schedule()

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio.Protocol."""
        self._transport = None
        if self._watch is not None:
            self._watch.cancel()
        self._reason = exc or self._reason
        for answer in (*self._awaited, *(answer for _, answer in self._gathered)):
            if not answer.done():
                answer.set_exception(ValkeyAwayError(self._reason))
        self._awaited.clear()
        self._gathered.clear()
        self.closed.set_result(self._reason)

    def _schedule(self) -> None:
        """Alone, a call goes out at once. Among others it waits for them: fewer wake-ups cost less than it is late."""
        self._flush_due = True
        if self._crowded:
            self._loop.call_later(GATHER_SECONDS, self._flush)
        else:
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flush_due = False
        if not self._gathered or self._awaited or self._transport is None:
            return
        batch = [self._gathered.popleft() for _ in range(min(len(self._gathered), BATCH_CALLS))]
        self._crowded = len(batch) > 1
        self._awaited.extend([answer for _, answer in batch])
        self._sent_at = self._loop.time()
        if self._watch is None:
            self._watch = self._loop.call_later(self._timeout, self._look)
        self._transport.write(b"".join([command for command, _ in batch]))

    def _look(self) -> None:
        """Looks whether the batch in flight is late: one timer for all of them, for a timer each costs too much."""
        self._watch = None
        if not self._awaited:
            return
        left = self._sent_at + self._timeout - self._loop.time()
        if left > 0:
            self._watch = self._loop.call_later(left, self._look)
        else:
            self.abort(f"no answer within {self._timeout:g} s")

    def _settle(self, answer: "asyncio.Future[Any]", reply: Any) -> None:
        if answer.done():
            return
        if isinstance(reply, hiredis.ReplyError):
            answer.set_exception(ValkeyRefusedError(str(reply)))
        else:
            answer.set_result(reply)


class Pipeline:
    """Valkey over one connection, which is made anew in the background when it is lost; calls fail at once meanwhile.

    `timeout`, in seconds, is for each micro-batch: a call waits at most for the one in flight and its own.
    """

    def __init__(self, settings: ValkeySettings, presence: Presence, *, timeout: float = 0.25) -> None:
        self._url = urlsplit(settings.valkey_url)
        self._password = settings.valkey_password.get_secret_value() if settings.valkey_password else None
        self._presence = presence
        self._timeout = timeout
        self._link: _Link | None = None
        self._keeper: asyncio.Task[None] | None = None

    @property
    def host(self) -> str:
        """The server's."""
        return self._url.hostname or "localhost"

    async def start(self, *, wait_seconds: float = 0) -> None:
        """See Lanes."""
        try:
            self._link = await self._first(asyncio.get_running_loop().time() + wait_seconds)
        except (ValkeyAwayError, ValkeyRefusedError) as error:
            log.error("Valkey cannot be used", host=self._url.hostname, port=self._url.port, error=str(error))
            raise DependencyUnavailable(dependency="Valkey") from error
        self._keeper = asyncio.create_task(self._keep())

    async def join(self) -> None:
        """Connects, or goes on trying to in the background."""
        with suppress(ValkeyAwayError, ValkeyRefusedError):
            self._link = await self._connect()
        self._keeper = asyncio.create_task(self._keep())

    def at(self, tag: bytes) -> "Pipeline":
        """See Lanes: every key is here."""
        del tag
        return self

    async def everywhere(self, *words: str | bytes | int) -> list[Any]:
        """See Lanes: there is one."""
        return [await self.call(*words)]

    def call(self, *words: str | bytes | int) -> "asyncio.Future[Any]":
        """The future answer to a command: bytes, int, None or a list of them.

        Raises ValkeyAwayError, at once or through the future, and ValkeyRefusedError.
        """
        if self._link is None:
            raise ValkeyAwayError("not connected")
        return self._link.submit(_pack(words))

    async def close(self) -> None:
        """Closes the connection; calls under way fail."""
        if self._keeper is not None:
            self._keeper.cancel()
            with suppress(asyncio.CancelledError):
                await self._keeper
        if self._link is not None:
            self._link.abort("closed")
            await self._link.closed

    async def _keep(self) -> None:
        """Waits for the connection's end and makes the next one, until cancelled."""
        while True:
            reason: object = "not connected"
            if self._link is not None:
                reason = await asyncio.shield(self._link.closed)
            self._link = None
            self._presence.away(reason)
            self._link = await self._reconnect()
            self._presence.here()

    async def _first(self, until: float) -> _Link:
        while True:
            try:
                return await self._connect()
            except ValkeyAwayError:
                if asyncio.get_running_loop().time() >= until:
                    raise
            await asyncio.sleep(FIRST_DELAY_SECONDS)

    async def _reconnect(self) -> _Link:
        delay = FIRST_DELAY_SECONDS
        while True:
            await asyncio.sleep(delay)
            delay = min(delay * 2, LAST_DELAY_SECONDS)
            with suppress(ValkeyAwayError, ValkeyRefusedError):
                return await self._connect()

    async def _connect(self) -> _Link:
        host, port, tls = self.host, self._url.port or 6379, self._url.scheme == "rediss"
        link = _Link(self._timeout)
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                await asyncio.get_running_loop().create_connection(lambda: link, host, port, ssl=tls or None)
        except OSError as error:
            raise ValkeyAwayError(error) from error
        try:
            await asyncio.gather(*[link.submit(_pack(words)) for words in self._greeting()])
        except BaseException as error:
            link.abort(error)
            raise
        return link

    def _greeting(self) -> list[tuple[str, ...]]:
        """AUTH and SELECT where the address asks for them; PING, which a server that still loads refuses."""
        password = self._password or (unquote(self._url.password) if self._url.password else None)
        words: list[tuple[str, ...]] = []
        if password:
            words.append(("AUTH", unquote(self._url.username or "default"), password))
        if database := self._url.path.strip("/"):
            words.append(("SELECT", database))
        return [*words, ("PING",)]


def _pack(words: tuple[str | bytes | int, ...]) -> bytes:
    packed: bytes = hiredis.pack_command(words)  # type: ignore[arg-type] # its stub knows tuples of one word only
    return packed
