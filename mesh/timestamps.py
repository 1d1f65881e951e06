"""Time stamps of RFC 3161, checked offline with the certificates of authorities that one trusts."""

import hashlib
import re
from collections.abc import Sequence
from datetime import datetime

from cryptography import x509
from rfc3161_client import TimeStampResponse, VerificationError, VerifierBuilder, decode_timestamp_response

from trust.stamp import AuthorityUnknownError, StampInvalidError

GRANTED = 0
SHA256 = x509.ObjectIdentifier("2.16.840.1.101.3.4.2.1")


STRANGER = ("unable to get local issuer certificate", "self-signed certificate in certificate chain")
"""OpenSSL's words for a certificate that leads to none of ours."""
VERIFY_ERROR = re.compile(r"Verify error: ([^\"]+)")


class Authorities:
    """Time-stamp authorities, by X.509 certificates: their own, or those that issued them."""

    def __init__(self, certificates: Sequence[x509.Certificate]) -> None:
        self._certificates = list(certificates)

    @classmethod
    def from_pem(cls, text: bytes) -> "Authorities":
        """From one certificate or several. Raises ValueError."""
        return cls(x509.load_pem_x509_certificates(text))

    def check(self, response: bytes, data: bytes, *, nonce: int | None = None) -> datetime:
        """When (UTC) an authority had `data`, by its answer, a TimeStampResp in DER.

        Raises StampInvalidError, AuthorityUnknownError.

        The signer's certificate has to lead to one of ours, to be valid at that time, and to be for time-stamping;
        the message imprint is SHA-256 of `data` (RFC 3161, sections 2.3 and 2.4.2).
        """
        answer = _decode(response)
        verifier = VerifierBuilder(roots=self._certificates, nonce=nonce).build()
        try:
            verifier.verify(answer, hashlib.sha256(data).digest())
        except (VerificationError, ValueError) as error:
            # OpenSSL's own words, out of a whole stack of them.
            said = VERIFY_ERROR.search(str(error))
            why = said[1] if said else str(error)
            raise (AuthorityUnknownError if why in STRANGER else StampInvalidError)(why) from None
        if answer.tst_info.message_imprint.hash_algorithm != SHA256:
            raise StampInvalidError("its message imprint is not SHA-256")
        return answer.tst_info.gen_time


def _decode(response: bytes) -> TimeStampResponse:
    try:
        answer = decode_timestamp_response(response)
        status = answer.status
    except ValueError:
        raise StampInvalidError("it is no answer of a time-stamp authority") from None
    if status != GRANTED:
        raise StampInvalidError(f"the authority refused: {'; '.join(answer.status_string) or f'status {status}'}")
    return answer
