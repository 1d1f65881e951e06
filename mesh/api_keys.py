"""API keys of factories: `vk_<prefix>_<secret>`, of which only a hash of the secret is kept."""

import hashlib
import hmac
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from typing import NamedTuple
from uuid import UUID

from mesh.clock import Clock
from mesh.errors import CredentialsInvalid
from mesh.identity import Principal

HEADER = "x-api-key"
SCHEME = "vk"
PREFIX_LENGTH, SECRET_LENGTH = 8, 43
CACHE_SECONDS = 1.0
CACHED_KEYS = 4096


class Credentials(NamedTuple):
    """What is kept of a key that counts."""

    key_id: UUID
    factory_id: UUID
    secret_hash: bytes


Find = Callable[[str], Awaitable[Credentials | None]]
"""The key of a prefix; None when there is none that counts. Raises DependencyUnavailable."""


def secret_hash(secret: str) -> bytes:
    """What is kept of a secret: it has 256 bits, so one round is enough."""
    return hashlib.sha256(secret.encode()).digest()


class ApiKeyAuthenticator:
    """Knows a factory by its key in `x-api-key`; believes for a second what it looked up, so revocation acts soon."""

    def __init__(self, find: Find, clock: Clock) -> None:
        self._find = find
        self._clock = clock
        self._looked_up: OrderedDict[str, tuple[float, Credentials | None]] = OrderedDict()

    async def authenticate(self, metadata: Mapping[str, str]) -> Principal | None:
        """The factory; None without a key. Raises CredentialsInvalid, DependencyUnavailable."""
        text = metadata.get(HEADER)
        if text is None:
            return None
        scheme, prefix, secret = (*text.split("_", 2), "", "")[:3]
        if scheme != SCHEME or len(prefix) != PREFIX_LENGTH or len(secret) != SECRET_LENGTH:
            raise CredentialsInvalid
        found = await self._credentials(prefix)
        # An unknown prefix costs the same hash and comparison.
        expected = bytes(32) if found is None else found.secret_hash
        if not hmac.compare_digest(secret_hash(secret), expected) or found is None:
            raise CredentialsInvalid
        return Principal("factory", str(found.factory_id), str(found.key_id))

    async def _credentials(self, prefix: str) -> Credentials | None:
        now = self._clock.monotonic()
        expires, found = self._looked_up.get(prefix, (0.0, None))
        if expires <= now:
            found = await self._find(prefix)
            self._looked_up[prefix] = (now + CACHE_SECONDS, found)
            self._looked_up.move_to_end(prefix)
            if len(self._looked_up) > CACHED_KEYS:
                self._looked_up.popitem(last=False)
        return found
