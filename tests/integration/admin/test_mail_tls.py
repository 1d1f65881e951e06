"""Mail over TLS: to a server whose certificate a trusted authority made for its name, and to no other."""

import base64
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from pydantic import ValidationError

from admin.config import MailSettings
from admin.mail import SmtpMailer, SmtpServer, SmtpTls
from mesh.errors import DependencyUnavailable
from tests.integration.admin.test_mail import MAIL, SENDER, Sink, check_whole

PROTECTED = [SmtpTls.STARTTLS, SmtpTls.IMPLICIT]
HOST = "127.0.0.1"
DAY = timedelta(days=1)


@dataclass(frozen=True)
class Authority:
    """An authority of certificates for servers."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @classmethod
    def make(cls) -> "Authority":
        key, name = ec.generate_private_key(ec.SECP256R1()), common("test authority")
        builder = built(name, name, key, -DAY, DAY).add_extension(x509.BasicConstraints(True, None), critical=True)
        usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
        identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
        builder = builder.add_extension(usage, critical=True).add_extension(identifier, critical=False)
        return cls(key, builder.sign(key, hashes.SHA256()))

    def trusted(self, folder: Path) -> Path:
        """A file for whoever trusts it."""
        path = folder / "authority.pem"
        path.write_bytes(self.certificate.public_bytes(Encoding.PEM))
        return path

    def server(self, folder: Path, *, host: str = HOST, ended: bool = False) -> ssl.SSLContext:
        """What a server needs to show a certificate for `host`."""
        key = ec.generate_private_key(ec.SECP256R1())
        builder = built(common("mail"), self.certificate.subject, key, -2 * DAY, -DAY if ended else DAY)
        names = x509.SubjectAlternativeName([x509.IPAddress(ip_address(host))])
        above = x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key())
        builder = builder.add_extension(names, critical=False).add_extension(above, critical=False)
        pem = builder.sign(self.key, hashes.SHA256()).public_bytes(Encoding.PEM)
        path = folder / "server.pem"
        path.write_bytes(pem + key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(path)
        return context


def common(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def built(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, begin: timedelta, end: timedelta
) -> x509.CertificateBuilder:
    builder = x509.CertificateBuilder(issuer, subject, key.public_key(), x509.random_serial_number())
    now = datetime.now(UTC)
    return builder.not_valid_before(now + begin).not_valid_after(now + end)


@pytest.fixture(name="authority")
def _authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Authority:
    """It is trusted as an operator says so."""
    authority = Authority.make()
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.trusted(tmp_path)))
    return authority


@asynccontextmanager
async def protected(tls: SmtpTls, context: ssl.SSLContext) -> AsyncIterator[tuple[Sink, SmtpMailer]]:
    """A server that knows this way alone, and a mailer who logs in there."""
    sink = Sink(implicit=context) if tls is SmtpTls.IMPLICIT else Sink(upgrade=context)
    async with sink.listening() as port:
        yield sink, SmtpMailer(SmtpServer(HOST, port, "ada", "a secret", tls), SENDER)


@pytest.mark.parametrize("tls", PROTECTED)
async def test_the_whole_mail_arrives_and_nothing_of_it_was_in_the_clear(
    authority: Authority, tmp_path: Path, tls: SmtpTls
) -> None:
    async with protected(tls, authority.server(tmp_path)) as (sink, mailer):
        for _ in range(2):
            await mailer.send(MAIL)
    assert len(sink.received) == 2
    check_whole(sink.received[1])
    assert base64.b64decode(sink.logins[0]) == b"\0ada\0a secret"
    assert sink.said == ([b"EHLO", b"STARTTLS"] * 2 if tls is SmtpTls.STARTTLS else [])


@pytest.mark.parametrize("wrong", ["another authority's", "another host's", "ended"])
@pytest.mark.parametrize("tls", PROTECTED)
async def test_a_certificate_that_does_not_hold_gets_nothing(
    authority: Authority, tmp_path: Path, tls: SmtpTls, wrong: str
) -> None:
    by = Authority.make() if wrong == "another authority's" else authority
    host = "127.0.0.2" if wrong == "another host's" else HOST
    async with protected(tls, by.server(tmp_path, host=host, ended=wrong == "ended")) as (sink, mailer):
        with pytest.raises(DependencyUnavailable, match="mail"):
            await mailer.send(MAIL)
    assert not sink.received + sink.logins


def test_what_the_setting_may_be() -> None:
    assert MailSettings(smtp_host="mail").smtp_tls is SmtpTls.STARTTLS
    with pytest.raises(ValidationError, match="'starttls', 'implicit' or 'none'"):
        MailSettings.model_validate({"smtp_host": "mail", "smtp_tls": "true"})
