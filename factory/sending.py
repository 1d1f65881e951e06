"""One POST of a webhook: over TLS, to an address that was checked, in ten seconds, believing nothing of the answer."""

import asyncio
import re
import ssl
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from socket import AF_UNSPEC, AddressFamily

from aiohttp import (
    ClientConnectorDNSError,
    ClientConnectorError,
    ClientConnectorSSLError,
    ClientError,
    ClientOSError,
    ClientResponse,
    ClientSession,
    ClientTimeout,
    DummyCookieJar,
    InvalidURL,
    ServerDisconnectedError,
    TCPConnector,
)
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from factory.addresses import AddressRule, refusal
from mesh.clock import Clock

ATTEMPT_SECONDS = 10.0
ANSWER_BYTES = 64 * 1024
KEPT_BYTES = 1024
PIECE_BYTES = 4096
REMOVED = "[removed]"
_UNPRINTABLE = re.compile("[^\t\n\x20-\x7e\xa0-\U0010ffff]")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of an attempt: an HTTP status, or None and the class of the error; seconds; the answer's beginning.

    `retry_after` is what the answer's header of that name asks for, in seconds, where it does.
    """

    status: int | None
    error: str
    duration: float
    answer: str = ""
    retry_after: float | None = None

    @property
    def succeeded(self) -> bool:
        """True for any 2xx."""
        return self.status is not None and 200 <= self.status < 300


class AddressRefusedError(OSError):
    """A name led to an address that must not be called."""


class CheckedResolver(AbstractResolver):
    """Looks names up, once an attempt, and gives addresses that passed the rule or none at all.

    The connection is made to what this gives and the name is not looked up again, so that a name which changes its
    address between the check and the connection gains nothing.
    """

    def __init__(self, inner: AbstractResolver, rule: AddressRule) -> None:
        self._inner = inner
        self._rule = rule

    async def resolve(
        self,
        host: str,
        port: int = 0,
        family: AddressFamily = AF_UNSPEC,
    ) -> list[ResolveResult]:
        """Raises AddressRefusedError when any of the addresses is refused, OSError when there is none."""
        found = await self._inner.resolve(host, port, family)
        if refused := [result["host"] for result in found if not self._rule(result["host"])]:
            raise AddressRefusedError(f"{host} leads to {', '.join(refused)}")
        return found

    async def close(self) -> None:
        """See AbstractResolver."""
        await self._inner.close()


class Sender:
    """Posts bodies, each over a connection of its own; no cookies, proxies or redirects."""

    def __init__(
        self,
        resolver: AbstractResolver,
        clock: Clock,
        *,
        rule: AddressRule,
        allow_private: bool = False,
        tls: ssl.SSLContext | None = None,
        attempt_seconds: float = ATTEMPT_SECONDS,
    ) -> None:
        self._clock = clock
        self._allow_private = allow_private
        self._session = ClientSession(
            connector=TCPConnector(
                resolver=CheckedResolver(resolver, rule),
                use_dns_cache=False,
                force_close=True,
                limit=0,
                ssl=tls or ssl.create_default_context(),
            ),
            cookie_jar=DummyCookieJar(),
            timeout=ClientTimeout(total=attempt_seconds),
            auto_decompress=False,
            trust_env=False,
            headers={"user-agent": "VokeTag-Webhooks/1", "content-type": "application/cloudevents+json; charset=utf-8"},
        )

    async def close(self) -> None:
        """Ends connections."""
        await self._session.close()

    async def post(self, url: str, body: bytes, headers: Mapping[str, str], *, secrets: Iterable[str] = ()) -> Outcome:
        """What came of it; `secrets` are taken out of the answer, and so are the signatures."""
        began = self._clock.monotonic()
        status, error, answer, retry_after = None, "", b"", None
        if refusal(url, allow_private=self._allow_private) is not None:
            error = "ADDRESS_REFUSED"
        else:
            try:
                async with self._session.post(URL(url), data=body, headers=headers, allow_redirects=False) as response:
                    answer = await _beginning(response)
                    status, retry_after = response.status, _seconds(response.headers.get("retry-after"))
            except (ClientError, OSError, TimeoutError, ValueError) as failure:
                error = _named(failure)
        hidden = [*secrets, *headers["webhook-signature"].split()]
        return Outcome(status, error, self._clock.monotonic() - began, _text(answer, hidden), retry_after)


async def _beginning(response: ClientResponse) -> bytes:
    """What is kept of the answer. It is read to its end, but no further than ANSWER_BYTES."""
    kept, read = bytearray(), 0
    while read < ANSWER_BYTES and (piece := await response.content.read(PIECE_BYTES)):
        read += len(piece)
        kept += piece[: 2 * KEPT_BYTES - len(kept)]
    response.close()
    return bytes(kept)


def _text(answer: bytes, hidden: Iterable[str]) -> str:
    text = answer.decode(errors="replace")
    for secret in hidden:
        text = text.replace(secret, REMOVED).replace(secret.split(",")[-1].removeprefix("whsec_"), REMOVED)
    return _UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", text).encode()[:KEPT_BYTES].decode(errors="ignore")


def _seconds(header: str | None) -> float | None:
    return float(header) if header and header.isascii() and header.isdigit() and len(header) < 8 else None


def _named(error: Exception) -> str:
    """The class of an error, as the contract lists them."""
    match error:
        case asyncio.TimeoutError():
            return "TIMEOUT"
        case ClientConnectorDNSError():
            return "ADDRESS_REFUSED" if isinstance(error.os_error, AddressRefusedError) else "DNS"
        case ClientConnectorSSLError() | ssl.SSLError():
            return "TLS"
        case ClientConnectorError() | ClientOSError() | ServerDisconnectedError() | OSError():
            return "TLS" if isinstance(error.__cause__, ssl.SSLError) else "CONNECTION"
        case InvalidURL():
            return "ADDRESS_REFUSED"
        case _:
            return "PROTOCOL"
