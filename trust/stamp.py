"""A time stamp (RFC 3161) as a verifier needs it: when an authority had some bytes."""

from datetime import datetime
from typing import Protocol


class StampInvalidError(Exception):
    """It is no time stamp of these bytes; the message says why."""


class AuthorityUnknownError(StampInvalidError):
    """Whoever signed it is none of those that the verifier knows, so nothing is known."""


class StampChecker(Protocol):
    """Knows the certificates of some time-stamp authorities."""

    def check(self, response: bytes, data: bytes) -> datetime:
        """Give the time (UTC) at which an authority had `data`, by its TimeStampResp in DER.

        Raises StampInvalidError, AuthorityUnknownError.
        """
        ...
