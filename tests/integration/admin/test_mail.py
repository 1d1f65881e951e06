"""Mail to a server, which takes it, refuses it, hangs up or is not there; and into a folder."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from email import message_from_bytes, policy
from pathlib import Path

import pytest

from admin.mail import FileMailer, Mail, SmtpMailer, SmtpServer
from admin.resets import SUBJECT
from mesh.clock import new_id
from mesh.errors import DependencyUnavailable
from tests.servers import free_port

SENDER = "VokeTag <no-reply@voketag.com>"
MAIL = Mail("ada@example.com", SUBJECT, "sua senha · su contraseña\n")


class Sink:
    """A server for mail (RFC 5321), as much of it as a submission needs; `refusal` answers RCPT TO."""

    def __init__(self, refusal: bytes = b"") -> None:
        self.refusal = refusal
        self.received: list[bytes] = []

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 sink ESMTP\r\n")
        while line := await reader.readline():
            verb = line.split(b" ")[0].strip().upper()
            if verb == b"DATA":
                writer.write(b"354 go on\r\n")
                self.received.append((await reader.readuntil(b"\r\n.\r\n"))[:-3])
            if verb == b"RCPT" and self.refusal == b"hang up":
                break
            if verb == b"QUIT":
                writer.write(b"221 bye\r\n")
                break
            writer.write(self.refusal if verb == b"RCPT" and self.refusal else b"250 sink\r\n")
        writer.close()
        await writer.wait_closed()


@asynccontextmanager
async def serving(sink: Sink) -> AsyncIterator[SmtpMailer]:
    async with await asyncio.start_server(sink.talk, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        yield SmtpMailer(SmtpServer("127.0.0.1", port, None, None, False), SENDER)


async def test_a_server_gets_the_whole_mail() -> None:
    sink = Sink()
    async with serving(sink) as mailer:
        await mailer.send(MAIL)
    (received,) = sink.received
    message = message_from_bytes(received, policy=policy.default)
    assert (message["To"], message["From"], message["Subject"]) == (MAIL.to, SENDER, MAIL.subject)
    assert message.get_content().replace("\r\n", "\n") == MAIL.text


@pytest.mark.parametrize("refusal", [b"550 no such mailbox\r\n", b"451 later\r\n", b"hang up"])
async def test_a_server_that_does_not_take_it_is_unavailable(refusal: bytes) -> None:
    sink = Sink(refusal)
    async with serving(sink) as mailer:
        with pytest.raises(DependencyUnavailable, match="mail"):
            await mailer.send(MAIL)
    assert not sink.received


async def test_a_server_that_is_away_or_knows_no_tls_is_unavailable() -> None:
    away = SmtpMailer(SmtpServer("127.0.0.1", free_port(), None, None, False), SENDER)
    with pytest.raises(DependencyUnavailable):
        await away.send(MAIL)
    sink = Sink()
    async with await asyncio.start_server(sink.talk, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(DependencyUnavailable):
            await SmtpMailer(SmtpServer("127.0.0.1", port, "user", "password", True), SENDER).send(MAIL)
    assert not sink.received, "nothing goes out in the clear"


async def test_nobody_adds_headers(tmp_path: Path) -> None:
    mailer = FileMailer(tmp_path / "mail", SENDER, new_id=new_id)
    for mail in (Mail("a@b.example\nBcc: c@d.example", "x", "y"), Mail("a@b.example", "x\r\nBcc: c@d.example", "y")):
        with pytest.raises(ValueError, match="linefeed|newline|carriage"):
            await mailer.send(mail)
    assert not list(tmp_path.glob("mail/*"))
