"""Mail: through a server, or into a folder."""

import asyncio
import smtplib
import ssl
from dataclasses import dataclass
from email.message import EmailMessage
from enum import StrEnum
from pathlib import Path
from typing import Protocol

import structlog

from mesh.clock import IdSource
from mesh.errors import DependencyUnavailable

log = structlog.get_logger()
SMTP_SECONDS = 8.0


@dataclass(frozen=True, slots=True)
class Mail:
    """What to send to one person, in plain text."""

    to: str
    subject: str
    text: str

    def message(self, sender: str) -> EmailMessage:
        """As RFC 5322 has it. Raises ValueError when an address or the subject holds a line break."""
        message = EmailMessage()
        message["From"], message["To"], message["Subject"] = sender, self.to, self.subject
        message.set_content(self.text)
        return message


class Mailer(Protocol):
    """A way to send mail."""

    async def send(self, mail: Mail) -> None:
        """Hands it over. Raises DependencyUnavailable."""
        ...


class FileMailer:
    """Writes each mail into a folder, for whoever runs everything on one machine."""

    def __init__(self, folder: Path, sender: str, *, new_id: IdSource) -> None:
        self._folder = folder
        self._sender = sender
        self._new_id = new_id

    async def send(self, mail: Mail) -> None:
        """See Mailer."""
        await asyncio.to_thread(self._write, bytes(mail.message(self._sender)))

    def _write(self, content: bytes) -> None:
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            path = self._folder / f"{self._new_id()}.eml"
            path.touch(mode=0o600)
            path.write_bytes(content)
        except OSError as error:
            log.error("mail cannot be written", error=str(error))
            raise DependencyUnavailable(dependency="mail") from error


class SmtpTls(StrEnum):
    """How a connection is protected; the server's certificate is checked either way."""

    STARTTLS = "starttls"
    """From the command on, which must be there (RFC 3207)."""
    IMPLICIT = "implicit"
    """From the first byte, as on port 465 (RFC 8314)."""
    NONE = "none"
    """Not at all: to a relay on the same machine."""


@dataclass(frozen=True, slots=True)
class SmtpServer:
    """A mail server; without a user nobody logs in there."""

    host: str
    port: int
    user: str | None
    password: str | None
    tls: SmtpTls


class SmtpMailer:
    """Hands mail to a server (RFC 6409), beside the event loop."""

    def __init__(self, server: SmtpServer, sender: str) -> None:
        self._server = server
        self._sender = sender

    async def send(self, mail: Mail) -> None:
        """See Mailer."""
        await asyncio.to_thread(self._submit, mail.message(self._sender))

    def _submit(self, message: EmailMessage) -> None:
        server = self._server
        try:
            with self._connection() as connection:
                if server.user:
                    connection.login(server.user, server.password or "")
                connection.send_message(message)
        except (OSError, smtplib.SMTPException) as error:
            log.error("mail cannot be sent", error=type(error).__name__)
            raise DependencyUnavailable(dependency="mail") from error

    def _connection(self) -> smtplib.SMTP:
        server, context = self._server, ssl.create_default_context()
        if server.tls is SmtpTls.IMPLICIT:
            return smtplib.SMTP_SSL(server.host, server.port, timeout=SMTP_SECONDS, context=context)
        connection = smtplib.SMTP(server.host, server.port, timeout=SMTP_SECONDS)
        try:
            if server.tls is SmtpTls.STARTTLS:
                connection.starttls(context=context)
        except BaseException:
            connection.close()
            raise
        return connection
