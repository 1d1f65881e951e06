"""Passwords: Argon2id (RFC 9106) in PHC strings, hashed beside the event loop and only so many at once."""

import asyncio
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass

from cryptography.exceptions import InvalidKey
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from mesh.errors import PasswordRefused

SALT_BYTES, HASH_BYTES = 16, 32
FEWEST_CHARACTERS, FEWEST_DIFFERENT, FEWEST_BESIDE = 12, 5, 6


@dataclass(frozen=True, slots=True)
class Cost:
    """What a hash costs; the default is the one that OWASP recommends."""

    memory_kib: int = 19_456
    passes: int = 2

    @property
    def prefix(self) -> str:
        """How a PHC string of this cost begins."""
        return f"$argon2id$v=19$m={self.memory_kib},t={self.passes},p=1$"


def check_password(password: str, *, email: str, name: str) -> None:
    """Raises PasswordRefused when the password would be among the first guesses."""
    folded = password.casefold()
    if len(unicodedata.normalize("NFKC", password)) < FEWEST_CHARACTERS:
        raise PasswordRefused(why=f"it has fewer than {FEWEST_CHARACTERS} characters")
    if len(set(folded)) < FEWEST_DIFFERENT:
        raise PasswordRefused(why="it repeats a few characters")
    own = [part for part in (email.casefold(), email.partition("@")[0].casefold(), name.casefold()) if len(part) > 3]
    if any(len(folded.replace(part, "")) < FEWEST_BESIDE for part in own):
        raise PasswordRefused(why="it says who you are")


class Passwords:
    """Hashes and checks passwords."""

    def __init__(self, random_bytes: Callable[[int], bytes], cost: Cost, *, at_once: int = 2) -> None:
        self._random = random_bytes
        self._cost = cost
        self._turns = asyncio.Semaphore(at_once)
        self._nobodys = self._hash(random_bytes(SALT_BYTES))

    async def hash(self, password: str) -> str:
        """A PHC string."""
        async with self._turns:
            return await asyncio.to_thread(self._hash, _bytes(password))

    async def fits(self, password: str, phc: str | None) -> bool:
        """Whether this is the password; without one to compare with it is not, and that takes as long."""
        async with self._turns:
            fits = await asyncio.to_thread(_fits, _bytes(password), phc or self._nobodys)
        return fits and phc is not None

    def outdated(self, phc: str) -> bool:
        """Whether a hash was made at another cost than new ones are."""
        return not phc.startswith(self._cost.prefix)

    def _hash(self, password: bytes) -> str:
        salt, cost = self._random(SALT_BYTES), self._cost
        kdf = Argon2id(salt=salt, length=HASH_BYTES, iterations=cost.passes, lanes=1, memory_cost=cost.memory_kib)
        return kdf.derive_phc_encoded(password)


def _bytes(password: str) -> bytes:
    """Alike however a keyboard composes its accents."""
    return unicodedata.normalize("NFKC", password).encode()


def _fits(password: bytes, phc: str) -> bool:
    try:
        Argon2id.verify_phc_encoded(password, phc)
    except InvalidKey:
        return False
    return True
