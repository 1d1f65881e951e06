"""One attempt at real servers: TLS, redirects, answers that are too long or never end, and names that change."""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult

from factory.addresses import public_address
from factory.sending import ANSWER_BYTES, KEPT_BYTES, Outcome, Sender
from tests.acceptance.edge.certificate import make_certificate
from tests.integration.factory.receivers import Receiver, receiving, sending
from tests.servers import free_port

SIGNED = {"webhook-id": "1", "webhook-timestamp": "2", "webhook-signature": "v1,c2lnbmF0dXJl"}


class Names(AbstractResolver):
    """Gives the next of the addresses at each look."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    async def resolve(self, host: str, port: int = 0, family: Any = socket.AF_UNSPEC) -> list[ResolveResult]:
        self.asked.append(host)
        addresses = self.answers.pop(0)
        if not addresses:
            raise OSError("no such name")
        return [
            ResolveResult(hostname=host, host=address, port=port, family=socket.AF_INET, proto=0, flags=0)
            for address in addresses
        ]

    async def close(self) -> None:
        pass


async def post(sender: Sender, url: str, **more: Any) -> Outcome:
    return await sender.post(url, b'{"a":1}', SIGNED, **more)


@pytest.mark.parametrize("status", [200, 201, 204, 299])
async def test_any_2xx_succeeds(status: int) -> None:
    async with receiving(status) as receiver, sending() as sender:
        outcome = await post(sender, receiver.url)
    assert (outcome.status, outcome.error, outcome.succeeded) == (status, "", True)
    (got,) = receiver.received
    assert got.body == b'{"a":1}'
    assert SIGNED.items() <= got.headers.items()
    assert got.headers["content-length"] == "7"


@pytest.mark.parametrize("status", [300, 301, 302, 303, 307, 308, 400, 404, 410, 429, 500, 503])
async def test_no_other_status_does_and_redirects_are_not_followed(status: int) -> None:
    async def elsewhere(request: web.Request) -> web.StreamResponse:
        return web.Response(status=status, headers={"location": "/other", "retry-after": "7"})

    async with receiving(elsewhere) as receiver, sending() as sender:
        outcome = await post(sender, receiver.url)
    assert (outcome.status, outcome.succeeded, outcome.retry_after) == (status, False, 7.0)
    assert len(receiver.received) == 1


async def test_answer_is_kept_short_and_read_no_further_than_the_limit() -> None:
    written = 0

    async def endless(request: web.Request) -> web.StreamResponse:
        nonlocal written
        response = web.StreamResponse()
        await response.prepare(request)
        with contextlib.suppress(ConnectionError):
            while True:
                await response.write(b"a\x00\xff\xc3\xa9" * 1000)
                written += 5000
        return response

    async with receiving(endless) as receiver, sending() as sender:
        outcome = await post(sender, receiver.url)
    assert (outcome.status, outcome.error) == (200, "")
    assert outcome.answer.startswith("a\ufffd\ufffdé")
    assert len(outcome.answer.encode()) <= KEPT_BYTES
    assert written < 100 * ANSWER_BYTES, "the buffers of two sockets, and no more"


async def test_answer_that_drips_ends_with_the_time() -> None:
    async def dripping(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b".")
        await asyncio.Event().wait()
        return response

    async with receiving(dripping) as receiver, sending(attempt_seconds=0.3) as sender:
        outcome = await post(sender, receiver.url)
    assert (outcome.status, outcome.error, outcome.succeeded) == (None, "TIMEOUT", False)


async def test_compressed_answers_are_not_unpacked() -> None:
    async def bomb(request: web.Request) -> web.StreamResponse:
        return web.Response(body=b"\x1f\x8b not gzip", headers={"content-encoding": "gzip"})

    async with receiving(bomb) as receiver, sending() as sender:
        outcome = await post(sender, receiver.url)
    assert outcome.succeeded
    assert outcome.answer.endswith("not gzip")


async def test_secrets_and_signatures_are_taken_out_of_the_answer() -> None:
    async def echo(request: web.Request) -> web.StreamResponse:
        return web.Response(text=f"{request.headers['webhook-signature']} whsec_c2VjcmV0 c2VjcmV0 bye")

    async with receiving(echo) as receiver, sending() as sender:
        outcome = await post(sender, receiver.url, secrets=["whsec_c2VjcmV0"])
    assert outcome.answer == "[removed] [removed] [removed] bye"


@pytest.mark.parametrize(
    "greeting", [b"", b"SSH-2.0-OpenSSH\r\n", b"HTTP/1.1 999999 x\r\n\r\n", b"HTTP/1.1 200 OK\r\nx" * 9999]
)
async def test_servers_that_speak_something_else(greeting: bytes) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            await reader.readuntil(b"}")
            writer.write(greeting)
            await writer.drain()
            writer.close()
            await writer.wait_closed()

    server = await asyncio.start_server(talk, "127.0.0.1")
    async with server, sending() as sender:
        outcome = await post(sender, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/")
    assert outcome.status is None
    assert outcome.error in {"CONNECTION", "PROTOCOL"}


async def test_nobody_there() -> None:
    async with sending() as sender:
        assert (await post(sender, f"http://127.0.0.1:{free_port()}/")).error == "CONNECTION"


@contextlib.asynccontextmanager
async def over_tls(folder: Path) -> AsyncIterator[tuple[Receiver, ssl.SSLContext]]:
    """A receiver with a certificate for its address and `localhost`, and who trusts it."""
    certificate = make_certificate(folder)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.certificate, certificate.key)
    async with receiving(tls=context) as receiver:
        yield receiver, ssl.create_default_context(cafile=str(certificate.certificate))


async def test_tls_is_checked_against_the_name(tmp_path: Path) -> None:
    async with over_tls(tmp_path) as (receiver, trusting):
        names = Names(*[["127.0.0.1"]] * 2)
        async with sending(names, tls=trusting) as sender:
            good = await post(sender, f"https://localhost:{receiver.port}/hook")
            wrong = await post(sender, f"https://another.example:{receiver.port}/hook")
        async with sending() as sender:
            untrusted = await post(sender, receiver.url)
        async with sending() as sender:
            plain = await post(sender, receiver.url.replace("https", "http"))
    assert good.succeeded
    assert receiver.received[0].headers["host"] == f"localhost:{receiver.port}"
    assert [outcome.error for outcome in (wrong, untrusted)] == ["TLS", "TLS"]
    assert not plain.succeeded
    assert len(receiver.received) == 1


async def test_name_that_changes_its_address_is_looked_up_once_and_pinned(tmp_path: Path) -> None:
    asked: list[str] = []

    def first_only(address: str) -> bool:
        asked.append(address)
        return address == "127.0.0.1"

    async with receiving() as receiver:
        names = Names(["127.0.0.1"], ["127.0.0.2"])
        async with sending(names, rule=first_only) as sender:
            pinned = await post(sender, f"http://rebinding.example:{receiver.port}/")
            refused = await post(sender, f"http://rebinding.example:{receiver.port}/")
    assert pinned.succeeded
    assert receiver.received[0].headers["host"] == f"rebinding.example:{receiver.port}"
    assert (refused.status, refused.error) == (None, "ADDRESS_REFUSED")
    assert asked == ["127.0.0.1", "127.0.0.2"]
    assert names.asked == ["rebinding.example"] * 2
    assert len(receiver.received) == 1


@pytest.mark.parametrize(
    "addresses",
    [["127.0.0.1"], ["10.0.0.1"], ["8.8.8.8", "127.0.0.1"], ["::1"], ["::ffff:127.0.0.1"], ["169.254.169.254"]],
)
async def test_names_of_private_addresses_are_refused(addresses: list[str]) -> None:
    async with receiving() as receiver:
        async with sending(Names(addresses), rule=public_address, allow_private=False) as sender:
            outcome = await post(sender, f"https://internal.example:{receiver.port}/")
    assert (outcome.status, outcome.error) == (None, "ADDRESS_REFUSED")
    assert not receiver.received


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "127.1", "0x7f.1", "2130706433", "localhost"]
)
async def test_no_spelling_of_loopback_is_called(host: str) -> None:
    async with receiving() as receiver:
        async with sending(rule=public_address, allow_private=False) as sender:
            outcome = await post(sender, f"https://{host}:{receiver.port}/")
    assert outcome.error in {"ADDRESS_REFUSED", "DNS"}
    assert not receiver.received


async def test_name_that_is_none_and_proxies_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    async with receiving() as proxy, receiving() as receiver:
        for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        async with sending(Names([])) as sender:
            assert (await post(sender, "http://no.example/")).error == "DNS"
            assert (await post(sender, receiver.url)).succeeded
    assert not proxy.received
