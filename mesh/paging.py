"""Page tokens: where a list goes on, signed, and good for one caller and filter only (AIP-158)."""

import base64
import binascii
import hmac

from mesh.errors import PageTokenInvalid

TAG_BYTES = 16


class PageTokens:
    """Makes and reads page tokens under a secret key."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def encode(self, cursor: str, *, scope: str) -> str:
        """A token for `cursor`, the keyset position of the last row, good in `scope` (caller and filter) only."""
        body = cursor.encode()
        return base64.urlsafe_b64encode(self._tag(body, scope) + body).decode().rstrip("=")

    def decode(self, token: str, *, scope: str) -> str:
        """The cursor. Raises PageTokenInvalid."""
        try:
            raw = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            raise PageTokenInvalid from None
        tag, body = raw[:TAG_BYTES], raw[TAG_BYTES:]
        if not hmac.compare_digest(tag, self._tag(body, scope)):
            raise PageTokenInvalid
        return body.decode()

    def _tag(self, body: bytes, scope: str) -> bytes:
        message = b"voketag/page/v1\0" + scope.encode() + b"\0" + body
        return hmac.digest(self._key, message, "sha256")[:TAG_BYTES]
