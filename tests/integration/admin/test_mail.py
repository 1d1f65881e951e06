"""Mail to a server, which takes it, refuses it, hangs up or is not there; and into a folder."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from email import message_from_bytes, policy
from pathlib import Path

import pytest

from admin.mail import FileMailer, Mail, SmtpMailer, SmtpServer, SmtpTls
from admin.resets import SUBJECT
from mesh.clock import new_id
from mesh.errors import DependencyUnavailable
from tests.servers import free_port

SENDER = "VokeTag <no-reply@voketag.com>"
MAIL = Mail("ada@example.com", SUBJECT, "sua senha · su contraseña\n")


class Sink:
    """A server for mail (RFC 5321), as much of it as a submission needs; `refusal` answers RCPT TO.

    With `upgrade` it knows STARTTLS (RFC 3207), or with `implicit` begins with it. `said` is what came in the clear,
    line by line.
    """

    def __init__(
        self, refusal: bytes = b"", *, upgrade: ssl.SSLContext | None = None, implicit: ssl.SSLContext | None = None
    ) -> None:
        self.refusal = refusal
        self.received: list[bytes] = []
        self.logins: list[bytes] = []
        self.said: list[bytes] = []
        self._upgrade = upgrade
        self._implicit = implicit
        self._talks: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[int]:
        """Its port. At the end whoever talked has hung up: a server's end waits for nobody (before Python 3.12)."""
        async with await asyncio.start_server(self._begun, "127.0.0.1", 0) as server:
            yield server.sockets[0].getsockname()[1]
        await asyncio.gather(*self._talks)

    def _begun(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._talks.add(asyncio.create_task(self._talk(reader, writer)))

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ssl.SSLError, ConnectionError):
            if self._implicit:
                await writer.start_tls(self._implicit)
            await self._answer_all(reader, writer)
        writer.close()
        with suppress(ssl.SSLError, ConnectionError):
            await writer.wait_closed()

    async def _answer_all(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 sink ESMTP\r\n")
        while line := await reader.readline():
            verb = line.split(b" ")[0].strip().upper()
            clear = writer.get_extra_info("ssl_object") is None
            if clear:
                self.said.append(verb)
            if verb == b"RCPT" and self.refusal == b"hang up":
                break
            if verb == b"AUTH":
                self.logins.append(line.split()[2])
            if verb == b"DATA":
                writer.write(b"354 go on\r\n")
                self.received.append((await reader.readuntil(b"\r\n.\r\n"))[:-3])
            writer.write(self._answer(verb, clear))
            if verb == b"QUIT":
                break
            if verb == b"STARTTLS" and self._upgrade:
                await writer.start_tls(self._upgrade)

    def _answer(self, verb: bytes, clear: bool) -> bytes:
        if verb == b"EHLO":
            return b"250-sink\r\n250 STARTTLS\r\n" if clear and self._upgrade else b"250-sink\r\n250 AUTH PLAIN\r\n"
        if verb == b"RCPT" and self.refusal:
            return self.refusal
        special = {b"AUTH": b"235 it is you\r\n", b"QUIT": b"221 bye\r\n"}
        if self._upgrade:
            special[b"STARTTLS"] = b"220 go on\r\n"
        return special.get(verb, b"250 sink\r\n")


@asynccontextmanager
async def serving(sink: Sink) -> AsyncIterator[SmtpMailer]:
    async with sink.listening() as port:
        yield SmtpMailer(SmtpServer("127.0.0.1", port, None, None, SmtpTls.NONE), SENDER)


def check_whole(received: bytes) -> None:
    message = message_from_bytes(received, policy=policy.default)
    assert (message["To"], message["From"], message["Subject"]) == (MAIL.to, SENDER, MAIL.subject)
    assert message.get_content().replace("\r\n", "\n") == MAIL.text


async def test_a_server_gets_the_whole_mail() -> None:
    sink = Sink()
    async with serving(sink) as mailer:
        await mailer.send(MAIL)
    (received,) = sink.received
    check_whole(received)


@pytest.mark.parametrize("refusal", [b"550 no such mailbox\r\n", b"451 later\r\n", b"hang up"])
async def test_a_server_that_does_not_take_it_is_unavailable(refusal: bytes) -> None:
    sink = Sink(refusal)
    async with serving(sink) as mailer:
        with pytest.raises(DependencyUnavailable, match="mail"):
            await mailer.send(MAIL)
    assert not sink.received


async def test_a_server_that_is_away_or_knows_no_tls_is_unavailable() -> None:
    away = SmtpMailer(SmtpServer("127.0.0.1", free_port(), None, None, SmtpTls.NONE), SENDER)
    with pytest.raises(DependencyUnavailable):
        await away.send(MAIL)
    sink = Sink()
    async with sink.listening() as port:
        with pytest.raises(DependencyUnavailable):
            await SmtpMailer(SmtpServer("127.0.0.1", port, "user", "password", SmtpTls.STARTTLS), SENDER).send(MAIL)
    assert not sink.received + sink.logins, "nothing goes out in the clear"


async def test_nobody_adds_headers(tmp_path: Path) -> None:
    mailer = FileMailer(tmp_path / "mail", SENDER, new_id=new_id)
    for mail in (Mail("a@b.example\nBcc: c@d.example", "x", "y"), Mail("a@b.example", "x\r\nBcc: c@d.example", "y")):
        with pytest.raises(ValueError, match="linefeed|newline|carriage"):
            await mailer.send(mail)
    assert not list(tmp_path.glob("mail/*"))
