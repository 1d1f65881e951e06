"""Guessing gets slower: failures are counted by whom they are about and by address, be there such a person or not."""

import hashlib
import math
from datetime import timedelta
from typing import NamedTuple

from admin.store import Store
from mesh.clock import Clock
from mesh.errors import LoginLocked

FORGOTTEN = timedelta(days=1)
LONGEST_SECONDS = 900.0


class Subject(NamedTuple):
    """What is counted by, and the number of the first failure that makes it wait."""

    key: str
    free: int


def of_email(email: str) -> Subject:
    """Kept as a hash: the table is no list of whom somebody tried."""
    return Subject(f"email:{hashlib.sha256(email.encode()).hexdigest()}", 5)


def of_subject(issuer: str, subject: str) -> Subject:
    """Of somebody whom a provider proved, and who tries codes of a second factor."""
    return Subject(f"oidc:{hashlib.sha256(f'{issuer} {subject}'.encode()).hexdigest()}", 5)


def of_address(prefix: str) -> Subject:
    """Many people may share an address."""
    return Subject(f"address:{prefix}", 30)


class Lockout:
    """Counts before the password is looked at, so that attempts at the same time do not pass as one."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def charge(self, email: str, address: str) -> None:
        """Counts an attempt. Raises LoginLocked, saying when to come back."""
        await self.count(of_address(address), of_email(email))

    async def count(self, *subjects: Subject) -> None:
        """Counts an attempt by each, one after the other. Raises LoginLocked, saying when to come back."""
        now = self._clock.now()
        for subject in subjects:
            async with self._store.connection() as connection:
                charged = await self._store.sql.charge(
                    connection,
                    subject=subject.key,
                    now=now,
                    forget_before=now - FORGOTTEN,
                    free_failures=subject.free,
                    longest=LONGEST_SECONDS,
                )
                if charged is None:
                    until = await self._store.sql.select_lock(connection, subject=subject.key)
                    wait = max(1.0, (until - now).total_seconds()) if until else 1.0
                    raise LoginLocked(retry_after=wait, seconds=math.ceil(wait))

    async def clear(self, email: str, address: str) -> None:
        """Says that the attempt was good."""
        await self.forgive(of_email(email), address)

    async def forgive(self, subject: Subject | None, address: str) -> None:
        """Forgets what failed by the subject, and one failure from the address."""
        async with self._store.transaction() as connection:
            if subject is not None:
                await self._store.sql.clear_failures(connection, subject=subject.key)
            await self._store.sql.refund(connection, subject=of_address(address).key)
