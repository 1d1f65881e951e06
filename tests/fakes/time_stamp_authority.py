"""A time-stamp authority of RFC 3161: HTTP before `openssl ts`, with a certificate authority of its own."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from rfc3161_client import TimestampRequestBuilder
from rfc3161_client.base import HashAlgorithm

from tests.fakes.served import Served

CONFIGURATION = """
[tsa]
default_tsa = one
[one]
serial = {folder}/serial
signer_digest = sha256
default_policy = 1.2.3.4.1
digests = {digests}
ess_cert_id_alg = sha256
"""
DAY = timedelta(days=1)


def name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


@dataclass(frozen=True)
class Issuer:
    """A certificate authority that issued one certificate for time-stamping, or for `usage`."""

    root: x509.Certificate
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @classmethod
    def make(
        cls, *, expired: bool = False, usage: x509.ObjectIdentifier = ExtendedKeyUsageOID.TIME_STAMPING
    ) -> "Issuer":
        top, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
        now = datetime.now(UTC)
        begin, end = (now - 9 * DAY, now - DAY) if expired else (now - DAY, now + 9 * DAY)
        root = _certificate("test root", top, top, name("test root"), (now - 10 * DAY, now + 10 * DAY))
        root = root.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        leaf = _certificate("test authority", key, top, name("test root"), (begin, end))
        leaf = leaf.add_extension(x509.ExtendedKeyUsage([usage]), critical=True)
        return cls(root.sign(top, hashes.SHA256()), leaf.sign(top, hashes.SHA256()), key)


def _certificate(
    subject: str,
    key: ec.EllipticCurvePrivateKey,
    issuer_key: ec.EllipticCurvePrivateKey,
    issuer: x509.Name,
    valid: tuple[datetime, datetime],
) -> x509.CertificateBuilder:
    authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key())
    return (
        x509.CertificateBuilder()
        .subject_name(name(subject))
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(valid[0])
        .not_valid_after(valid[1])
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(authority, critical=False)
    )


def query(data: bytes) -> bytes:
    """A question of one's own: another nonce than anybody else's."""
    return TimestampRequestBuilder(data=data, hash_algorithm=HashAlgorithm.SHA256).build().as_bytes()


class TimeStampAuthority(Served):
    """`change` bends the question before it is answered, `reply` the answer."""

    def __init__(self, folder: Path, issuer: Issuer, *, digests: str = "sha256, sha512") -> None:
        super().__init__(web.post("/", self._handle))
        self.issuer = issuer
        self.asked = 0
        self.status = 200
        self.hangs = False
        self.change: Callable[[bytes], bytes] = lambda question: question
        self.reply: Callable[[bytes], bytes] = lambda answer: answer
        self._folder = folder
        (folder / "tsa.conf").write_text(CONFIGURATION.format(folder=folder, digests=digests))
        (folder / "serial").write_text("01\n")
        self.use(issuer)

    def use(self, issuer: Issuer) -> None:
        """Signs with another key from now on."""
        key = issuer.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        (self._folder / "key.pem").write_bytes(key)
        (self._folder / "certificate.pem").write_bytes(issuer.certificate.public_bytes(Encoding.PEM))

    @property
    def certificates(self) -> bytes:
        """What to trust, in PEM."""
        return self.issuer.root.public_bytes(Encoding.PEM)

    async def _handle(self, request: web.Request) -> web.Response:
        self.asked += 1
        assert request.content_type == "application/timestamp-query"
        question = self.change(await request.read())
        if self.hangs:
            await self.over.wait()
        answer = self.reply(await self.answer(question))
        return web.Response(status=self.status, body=answer, content_type="application/timestamp-reply")

    async def answer(self, question: bytes) -> bytes:
        """A TimeStampResp in DER."""
        (self._folder / "question").write_bytes(question)
        process = await asyncio.create_subprocess_exec(
            *("openssl", "ts", "-reply", "-queryfile", "question", "-config", "tsa.conf", "-section", "one"),
            *("-signer", "certificate.pem", "-inkey", "key.pem"),
            cwd=self._folder,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        answer, said = await process.communicate()
        assert process.returncode == 0, said.decode()
        return answer
